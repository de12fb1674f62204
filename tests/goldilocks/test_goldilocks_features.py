"""What one pass reads at all stages, against the networks cut there, and against slow loops."""

from dataclasses import replace

import pytest
import torch

from pixpnet.backbones import build_backbone
from pixpnet.config import DatasetConfig
from pixpnet.data import open_splits
from pixpnet.goldilocks import find_prototypes, read_images, stages_of
from pixpnet.goldilocks.stages import LargestReader, StageReaders

PER_CLASS = 10


@pytest.fixture(scope="module")
def splits(birds):
    return open_splits(
        DatasetConfig(root=str(birds), classes=3, size=64, train_images=10, test_images=4), seed=0
    )


@pytest.fixture(scope="module")
def small(splits):
    """One test image of each class."""
    return replace(splits.test, records=splits.test.records[::4])


@pytest.mark.parametrize(
    ("model", "numbers"),
    [("densenet121", (1, 2, 5)), ("resnet18", (1, 3, 8)), ("timm/tf_efficientnet_lite0", (1, 2))],
)
def test_one_pass_reads_what_the_cut_networks_give(model, numbers, small):
    """DenseNet's norm0 is followed by an activation in place; EfficientNet converts its input."""
    stages = [stage for stage in stages_of(model, (32, 32)) if stage.number in numbers]
    torch.manual_seed(0)
    backbone = build_backbone(model, layer=stages[-1].name, pretrained=False)
    images = small
    prototypes = find_prototypes(backbone, stages, images, num_classes=3, seed=0, batch_size=3)
    together = read_images(backbone, stages, images, prototypes=prototypes, batch_size=3)
    weights = backbone.state_dict()
    for stage, reading in zip(stages, together, strict=True):
        alone = build_backbone(model, layer=stage.name, pretrained=False).eval()
        alone.load_state_dict({key: weights[key] for key in alone.state_dict()})
        with torch.no_grad():
            features = alone(torch.stack([images[index].image for index in range(3)]))
        assert torch.allclose(reading.averages, features.mean(dim=(2, 3)), atol=1e-5), stage.name


def test_heads_learn_from_the_largest_values_of_the_stage_itself():
    """Also where an activation in place follows, as behind DenseNet's norm0."""
    stages = [stage for stage in stages_of("densenet121", (32, 32)) if stage.number in (2, 5)]
    torch.manual_seed(0)
    backbone = build_backbone("densenet121", layer=stages[-1].name, pretrained=False)
    images = torch.rand(2, 3, 32, 32)

    def gradient(read, scaled):
        scaled = scaled.clone().requires_grad_()
        return torch.autograd.grad(sum(values.square().sum() for values in read(scaled)), scaled)[0]

    network = StageReaders(backbone, stages, [LargestReader() for _ in stages]).eval()
    weights = backbone.state_dict()
    expected = torch.zeros_like(images)
    for stage in stages:
        alone = build_backbone("densenet121", layer=stage.name, pretrained=False).eval()
        alone.load_state_dict({key: weights[key] for key in alone.state_dict()})
        expected += gradient(lambda some, alone=alone: [alone(some).amax(dim=(2, 3))], images)
    torch.testing.assert_close(gradient(network, images), expected)


@pytest.fixture
def stem_and_more():
    """A network with random weights, and its first two stages."""
    stages = stages_of("small_resnet", (64, 64))[:2]
    return build_backbone("small_resnet", layer=stages[-1].name, pretrained=False).eval(), stages


def test_similarity_is_that_of_the_most_similar_cell(stem_and_more, splits):
    backbone, stages = stem_and_more
    found = find_prototypes(backbone, stages, splits.projection, num_classes=3, seed=0, batch_size=16)
    read = read_images(backbone, stages, splits.test, prototypes=found, batch_size=16)[-1]
    prototypes = found[-1]
    with torch.no_grad():
        features = backbone(torch.stack([splits.test[index].image for index in range(2)]))
    for image in range(2):
        for number, direction in enumerate(prototypes.directions[::8]):
            cosines = []
            for row in range(features.shape[2]):
                for column in range(features.shape[3]):
                    cell = (features[image, :, row, column] - prototypes.mean) / prototypes.std
                    cosines.append(float(cell @ direction / cell.norm()))
            assert read.similarities[image, 8 * number] == pytest.approx(max(cosines), abs=1e-4)


def test_patches_are_cells_of_the_images_as_many_of_each(stem_and_more, small):
    """Of so few images all cells are taken, some more often than others but none left out."""
    backbone, stages = stem_and_more
    (found,) = find_prototypes(backbone, stages[-1:], small, num_classes=3, seed=0, batch_size=2)
    with torch.no_grad():
        features = backbone(torch.stack([small[index].image for index in range(3)]))
    cells = features.transpose(0, 1).flatten(1)
    assert cells.shape[1] == 3 * 16 * 16  # of 512 patches of each image: each of its cells twice
    assert torch.allclose(found.mean, cells.mean(dim=1), atol=1e-5)
    assert torch.allclose(found.std, cells.std(dim=1, correction=0), atol=1e-5)


def test_the_seed_draws_the_patches_whatever_the_batches(stem_and_more, splits):
    backbone, stages = stem_and_more

    def mean(*, seed, batch_size):
        options = {"num_classes": 3, "seed": seed, "batch_size": batch_size}
        return find_prototypes(backbone, stages[-1:], splits.projection, **options)[0].mean

    once = mean(seed=5, batch_size=30)
    assert torch.allclose(once, mean(seed=5, batch_size=4), atol=1e-6)
    assert not torch.allclose(once, mean(seed=6, batch_size=4), atol=1e-4)


def test_prototypes_are_unit_vectors_near_patches_of_their_classes(splits):
    stages = stages_of("small_resnet", (64, 64))[:3]
    backbone = build_backbone("small_resnet", layer=stages[-1].name, pretrained=False).eval()
    found = find_prototypes(backbone, stages, splits.projection, num_classes=3, seed=0, batch_size=7)
    for stage, prototypes in zip(stages, found, strict=True):
        assert prototypes.directions.shape == (3 * PER_CLASS, stage.channels)
        assert torch.allclose(prototypes.directions.norm(dim=1), torch.ones(1), atol=1e-5)
    readings = read_images(backbone, stages, splits.projection, prototypes=found, batch_size=7)
    own = torch.arange(3).repeat_interleave(PER_CLASS) == torch.tensor(splits.projection.labels)[:, None]
    for one in readings:
        assert one.similarities.max() <= 1 + 1e-5
        assert one.similarities[own].mean() > one.similarities[~own].mean()


def test_out_of_memory_halves_the_batch_and_changes_nothing(stem_and_more, splits, caplog):
    backbone, stages = stem_and_more

    def read():
        found = find_prototypes(backbone, stages, splits.projection, num_classes=3, seed=0, batch_size=16)
        return read_images(backbone, stages, splits.test, prototypes=found, batch_size=16)

    expected = read()
    sizes = []

    def cramped(module, images):
        sizes.append(len(images[0]))
        if len(images[0]) > 4:
            raise torch.OutOfMemoryError("out of memory")

    backbone.get_submodule("body.stem.0").register_forward_pre_hook(cramped)
    for one, other in zip(expected, read(), strict=True):
        assert torch.allclose(one.averages, other.averages, atol=1e-5)
        assert torch.allclose(one.similarities, other.similarities, atol=1e-4)
    assert sizes[:3] == [16, 8, 4]
    assert "batches of 4" in caplog.text
