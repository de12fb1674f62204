"""What one pass reads at all stages, against the networks cut there, and against slow loops."""

import pytest
import torch

from pixpnet.backbones import build_backbone
from pixpnet.config import DatasetConfig
from pixpnet.data import open_splits
from pixpnet.goldilocks import features as reading
from pixpnet.goldilocks import stages_of
from pixpnet.goldilocks.features import CellReader, PatchReader, Prototypes, find_prototypes, read_images
from pixpnet.goldilocks.stages import AverageReader, LargestReader, StageReaders

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def splits(birds):
    return open_splits(
        DatasetConfig(root=str(birds), classes=3, size=64, train_images=10, test_images=4), seed=0
    )


@pytest.mark.parametrize(
    ("model", "numbers"),
    [("densenet121", (1, 2, 5)), ("resnet18", (1, 3, 8)), ("timm/tf_efficientnet_lite0", (1, 2))],
)
def test_one_pass_reads_what_the_cut_networks_give(model, numbers):
    """DenseNet's norm0 is followed by an activation in place; EfficientNet converts its input."""
    stages = [stage for stage in stages_of(model, (32, 32)) if stage.number in numbers]
    torch.manual_seed(0)
    backbone = build_backbone(model, layer=stages[-1].name, pretrained=False)
    images = torch.rand(2, 3, 32, 32)
    network = StageReaders(backbone, stages, [AverageReader() for _ in stages]).eval()
    with torch.no_grad():
        together = network(images)
        weights = backbone.state_dict()
        for stage, averages in zip(stages, together, strict=True):
            alone = build_backbone(model, layer=stage.name, pretrained=False).eval()
            alone.load_state_dict({key: weights[key] for key in alone.state_dict()})
            assert torch.allclose(averages, alone(images).mean(dim=(2, 3)), atol=1e-5), stage.name


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


def test_similarity_is_that_of_the_most_similar_cell():
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(4, 5, generator=generator), dim=1)
    prototypes = Prototypes(
        directions, torch.randn(5, generator=generator), torch.rand(5, generator=generator) + 0.5
    )
    features = torch.randn(3, 5, 2, 3, generator=generator)
    read = CellReader(prototypes)(features)
    assert torch.allclose(read[:, :5], features.mean(dim=(2, 3)), atol=1e-6)
    for image in range(3):
        for number, direction in enumerate(directions):
            cosines = []
            for row in range(2):
                for column in range(3):
                    cell = (features[image, :, row, column] - prototypes.mean) / prototypes.std
                    cosines.append(float(cell @ direction / cell.norm()))
            assert read[image, 5 + number] == pytest.approx(max(cosines), abs=1e-5)


def test_patches_are_cells_of_the_image_whatever_the_batches():
    features = torch.arange(6 * 2 * 4 * 4.0).view(6, 2, 4, 4)
    whole = PatchReader(3, seed=5)
    once = whole(features)
    reader = PatchReader(3, seed=5)
    assert torch.equal(once, torch.cat([reader(features[:4]), reader(features[4:])]))
    for image, patches in zip(features, once, strict=True):
        cells = image.flatten(1).T.tolist()
        assert all(patch in cells for patch in patches.tolist())
        assert len({tuple(patch) for patch in patches.tolist()}) == 3
    assert not torch.equal(once, PatchReader(3, seed=6)(features))
    assert PatchReader(5, seed=0)(features[:, :, :2, :1]).shape == (6, 5, 2)


def test_prototypes_are_unit_vectors_near_patches_of_their_classes(splits):
    stages = stages_of("small_resnet", (64, 64))[:3]
    backbone = build_backbone("small_resnet", layer=stages[-1].name, pretrained=False).eval()
    found = find_prototypes(backbone, stages, splits.projection, num_classes=3, seed=0, batch_size=7)
    for stage, prototypes in zip(stages, found, strict=True):
        assert prototypes.directions.shape == (3 * reading.PROTOTYPES_PER_CLASS, stage.channels)
        assert torch.allclose(prototypes.directions.norm(dim=1), torch.ones(1), atol=1e-5)
    readings = read_images(backbone, stages, splits.projection, prototypes=found, batch_size=7)
    own = (
        torch.arange(3).repeat_interleave(reading.PROTOTYPES_PER_CLASS)
        == torch.tensor(splits.projection.labels)[:, None]
    )
    for one in readings:
        assert one.similarities.max() <= 1 + 1e-5
        assert one.similarities[own].mean() > one.similarities[~own].mean()


def test_out_of_memory_halves_the_batch_and_changes_nothing(splits, monkeypatch, caplog):
    stages = stages_of("small_resnet", (64, 64))[:2]
    backbone = build_backbone("small_resnet", layer=stages[-1].name, pretrained=False).eval()

    def read():
        found = find_prototypes(backbone, stages, splits.projection, num_classes=3, seed=0, batch_size=16)
        return read_images(backbone, stages, splits.test, prototypes=found, batch_size=16)

    expected = read()
    sizes = []
    forward = StageReaders.forward

    def cramped(self, images):
        sizes.append(len(images))
        if len(images) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, images)

    monkeypatch.setattr(StageReaders, "forward", cramped)
    for one, other in zip(expected, read(), strict=True):
        assert torch.allclose(one.averages, other.averages, atol=1e-5)
        assert torch.allclose(one.similarities, other.similarities, atol=1e-4)
    assert sizes[:3] == [16, 8, 4]
    assert "batches of 4" in caplog.text
