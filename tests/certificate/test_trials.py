"""What the trials find: nothing for a true receptive field, something for every wrong one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pixpnet.certificate import REPLACEMENTS, Trial, certify
from pixpnet.config import ModelConfig
from pixpnet.errors import ConfigError, DataError
from pixpnet.prototypes import build_network
from pixpnet.receptive_fields import receptive_field

SIZE = (40, 56)


class Backbone(nn.Sequential):
    """No pooling and no ReLU: each pixel of a receptive field of 7 × 11 has its weight in the features."""

    out_channels = 12

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.5),
            nn.Conv2d(8, self.out_channels, 3, padding=(1, 2), dilation=(1, 2)),
        )


class WholeImage(nn.Sequential):
    """Instance norm sees all that the convolution sees: with a kernel of 3, not the last row and column."""

    out_channels = 12
    kernel_size = 4

    def __init__(self) -> None:
        convolution = nn.Conv2d(3, self.out_channels, self.kernel_size, stride=4)
        super().__init__(convolution, nn.InstanceNorm2d(self.out_channels))


class NearlyWholeImage(WholeImage):
    kernel_size = 3


def network_on(backbone, **options):
    torch.manual_seed(0)
    settings = {"num_prototypes": 8, "prototype_dim": 16, "distance": "cosine"} | options
    network = build_network(ModelConfig(**settings), num_classes=4, backbone=backbone())
    with torch.no_grad():
        for part in network.modules():  # running statistics that differ from those of a batch
            if isinstance(part, nn.BatchNorm2d):
                part.load_state_dict(
                    part.state_dict()
                    | {"running_mean": torch.randn(8) / 5, "running_var": torch.rand(8) + 0.5}
                )
    return network.eval()


def field_of(network, size=SIZE):
    return receptive_field(network.backbone, size).for_kernel(network.kernel_size)


def pictures(count=6, size=SIZE):
    return list(torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(3)))


def try_it(network, *, field=None, images=None, trials=48, seed=0, batch_size=16):
    return certify(
        network,
        images or pictures(),
        receptive_field=field or field_of(network),
        trials=trials,
        seed=seed,
        batch_size=batch_size,
    )


def cut(intervals, *, start=0, end=0):
    """Intervals whose ends moved, inwards for a positive start and a negative end."""
    return np.stack([intervals[:, 0] + start, intervals[:, 1] + end], axis=1)


@pytest.mark.parametrize("kernel_size", [1, 2])
def test_a_true_receptive_field_passes(kernel_size):
    certificate = try_it(network_on(Backbone, prototype_kernel_size=kernel_size))
    assert certificate.passed
    assert (certificate.trials, certificate.failures, certificate.ours.unchanged) == (48, 0, 0)
    assert certificate.ours.largest_feature_change <= 1e-6
    assert certificate.ours.largest_similarity_change <= 1e-4
    assert certificate.worst_failure is None
    assert certificate.verdict.startswith("Passed: in 48 trials nothing")


def test_regions_of_upsampling_fail_beside_it():
    upsampling = try_it(network_on(Backbone)).overall("upsampling")
    assert upsampling.share_failing == 1
    assert upsampling.largest_feature_change > 1e-3
    assert upsampling.largest_similarity_change > 1e-4


@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize(
    "wrong", [{"start": 1}, {"end": -1}, {"start": 2}, {"start": 1, "end": 1}, {"start": -1, "end": -1}]
)
def test_a_receptive_field_cut_or_shifted_by_a_pixel_fails(axis, wrong):
    network = network_on(Backbone)
    field = field_of(network)
    broken = replace(field, **{axis: cut(getattr(field, axis), **wrong).clip(0, SIZE[axis == "columns"])})
    certificate = try_it(network, field=broken)
    assert not certificate.passed
    assert certificate.verdict.startswith(f"Failed: in {certificate.failures} of 48 trials")
    found = {finding.replacement: finding for finding in certificate.findings[:3]}
    assert all(
        found[replacement].share_failing > 0.6 for replacement in REPLACEMENTS
    )  # at the border none may
    worst = certificate.worst_failure
    assert worst is not None
    assert worst.box == broken.box(*worst.cell)
    assert worst.feature_change == certificate.ours.largest_feature_change > worst.allowed


def test_a_patch_of_several_cells_needs_the_hull_of_their_boxes():
    network = network_on(Backbone, prototype_kernel_size=2)
    single = receptive_field(network.backbone, SIZE)
    last = replace(field_of(network), rows=single.rows[1:], columns=single.columns[1:])
    assert not try_it(network, field=last).passed


def test_a_larger_box_than_needed_passes():
    """The certificate says that a box is large enough, not that it is as small as it could be."""
    network = network_on(Backbone)
    field = field_of(network)
    large = replace(field, rows=cut(field.rows, start=-4, end=4).clip(0, SIZE[0]))
    assert try_it(network, field=large).passed


def test_a_layer_that_sees_everything_has_an_empty_certificate():
    certificate = try_it(network_on(WholeImage))
    assert certificate.passed
    assert certificate.is_empty
    assert certificate.ours.unchanged == 48
    assert certificate.verdict.startswith("Empty: every displayed box is the whole image")


def test_a_layer_that_sees_nearly_everything_says_how_much():
    certificate = try_it(network_on(NearlyWholeImage))
    assert certificate.passed
    assert not certificate.is_empty
    assert "on average 95.8 % of the image" in certificate.verdict


def test_some_boxes_that_are_the_whole_image_are_counted():
    network = network_on(Backbone)
    field = field_of(network)
    rows, columns = field.rows.copy(), field.columns.copy()
    rows[::2], columns[:] = (0, SIZE[0]), (0, SIZE[1])
    certificate = try_it(network, field=replace(field, rows=rows, columns=columns))
    assert not certificate.is_empty
    assert 0 < certificate.ours.unchanged < 48
    assert f"({certificate.ours.unchanged} of them empty: the box is the whole image)" in certificate.verdict


def test_each_replacement_changes_the_pixels_outside():
    """Where nothing is kept, every trial must fail: each replacement differs from the image it replaces."""
    network = network_on(Backbone)
    field = field_of(network)
    blind = replace(field, rows=np.zeros_like(field.rows), columns=np.zeros_like(field.columns))
    certificate = try_it(network, field=blind, images=pictures(2))
    assert [finding.replacement for finding in certificate.findings] == list(REPLACEMENTS) * 2
    assert [finding.trials for finding in certificate.findings] == [16] * 6
    assert [finding.failures for finding in certificate.findings[:3]] == [16] * 3
    assert [finding.unchanged for finding in certificate.findings] == [0] * 6


class Recording(nn.Module):
    """A network's features, and the images that they were of."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.seen, self.modes = backbone, [], set()

    def forward(self, images):
        self.seen.append(images)
        self.modes.add(self.training)
        return self.backbone(images)


def test_the_box_is_kept_and_nothing_else():
    network = network_on(Backbone)
    field, images = field_of(network), pictures()
    network.backbone = Recording(network.backbone)
    try_it(network, field=field, images=images, trials=12, batch_size=12)
    originals, ours, upsampling = network.backbone.seen
    assert originals.shape == ours.shape == upsampling.shape == (12, 3, *SIZE)
    boxes = {tuple(box) for box in field.boxes.reshape(-1, 4).tolist()}
    for kind, (original, changed) in enumerate(zip(originals, ours, strict=True)):
        is_kept = (original == changed).all(dim=0)
        rows, columns = is_kept.any(dim=1).nonzero(), is_kept.any(dim=0).nonzero()
        left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        assert (int(left), int(top), int(right), int(bottom)) in boxes
        assert is_kept.sum() == (right - left) * (bottom - top)
        replaced = changed[:, ~is_kept]
        if kind % 3 == 0:
            assert replaced.mean().abs() < 0.1
            assert (replaced.std() - 1).abs() < 0.1
        elif kind % 3 == 1:
            assert (replaced == 0).all()
        else:
            others = [other for other in images if not torch.equal(other, original)]
            assert any(torch.equal(other[:, ~is_kept], replaced) for other in others)
    kept = [(originals == changed).all(dim=1).sum((1, 2)) for changed in (ours, upsampling)]
    assert ((kept[1] / kept[0]) - 1).abs().max() < 0.6  # the same area but for whole pixels
    assert ((kept[1] / kept[0]).mean() - 1).abs() < 0.2


def test_the_box_is_that_of_the_prototypes_best_cell():
    network = network_on(Backbone)
    field = field_of(network)
    broken = replace(field, rows=cut(field.rows, start=1).clip(0, SIZE[0]))
    worst = try_it(network, field=broken).worst_failure
    assert worst is not None
    cell = int(network(pictures()[worst.image][None]).cells[0, worst.prototype])
    assert divmod(cell, field.grid_size[1]) == worst.cell


def test_the_network_is_measured_in_eval_mode_and_comes_back():
    network = network_on(Backbone)
    field = field_of(network)
    network.train()
    network.add_on.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.backbone = Recording(network.backbone).train()
    torch.set_float32_matmul_precision("medium")
    try:
        assert try_it(network, field=field).passed
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert network.backbone.modes == {False}
    assert network.training
    assert network.backbone.backbone.training
    assert not network.add_on.training
    network.backbone = network.backbone.backbone
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_autocast_around_it_changes_nothing():
    network = network_on(Backbone)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = try_it(network)
    assert inside == try_it(network)


def test_a_seed_gives_the_same_certificate_and_another_seed_another():
    network = network_on(Backbone)
    first = try_it(network, seed=5)
    torch.manual_seed(99)
    assert try_it(network, seed=5) == first
    assert try_it(network, seed=6).findings != first.findings


def test_each_trial_and_each_seed_has_noise_of_its_own():
    def noise(number, seed):
        trial = Trial(number=number, image=0, prototype=0, other=1)
        return REPLACEMENTS["noise"](trial, pictures(2), shape=torch.Size((3, *SIZE)), seed=seed)

    assert torch.equal(noise(3, 5), noise(3, 5))
    assert not torch.equal(noise(3, 5), noise(6, 5))
    assert not torch.equal(noise(3, 5), noise(3, 6))


def test_batches_do_not_matter():
    network = network_on(Backbone)
    field = field_of(network)
    broken = replace(field, columns=cut(field.columns, end=-1))
    whole, parts = (try_it(network, field=broken, batch_size=size) for size in (48, 7))
    for left, right in zip(whole.findings, parts.findings, strict=True):
        assert (left.trials, left.failures, left.unchanged) == (right.trials, right.failures, right.unchanged)
        assert left.largest_feature_change == pytest.approx(right.largest_feature_change, rel=1e-3)
        assert left.largest_similarity_change == pytest.approx(right.largest_similarity_change, rel=1e-3)
    assert whole.worst_failure is not None
    assert parts.worst_failure is not None
    assert whole.worst_failure.image == parts.worst_failure.image


def test_progress_is_told():
    told = []
    certify(
        network := network_on(Backbone),
        pictures(),
        receptive_field=field_of(network),
        trials=10,
        seed=0,
        batch_size=4,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize("similarity", ["log", "linear"])
@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_the_change_of_similarity_is_that_at_the_cell(distance, similarity):
    """Against the similarity map of an image in which all is replaced by zeros: trial 1 of two."""
    network = network_on(Backbone, distance=distance, prototype_activation=similarity)
    field = field_of(network)
    blind = replace(field, rows=np.zeros_like(field.rows), columns=np.zeros_like(field.columns))
    certificate = try_it(network, field=blind, trials=2)
    (zeros,) = [one for one in certificate.findings[:3] if one.replacement == "zeros"]
    with torch.no_grad():
        empty = network.similarity_maps(network.features(torch.zeros(1, 3, *SIZE)))[0].flatten(1)
        output = network(torch.stack(pictures()))
    prototypes = torch.arange(network.num_prototypes)
    changes = (output.similarities - empty[prototypes, output.cells]).abs()
    assert (changes - zeros.largest_similarity_change).abs().min() < 1e-5


def test_what_cannot_be_tried_is_named():
    network = network_on(Backbone)
    with pytest.raises(ConfigError, match="trials=0"):
        try_it(network, trials=0)
    with pytest.raises(DataError, match=r"two test images or more.*here: 1"):
        try_it(network, images=pictures(1))
    with pytest.raises(ConfigError, match=r"grid of \(10, 14\) patches"):
        try_it(network, field=receptive_field(nn.Conv2d(3, 4, 4, stride=4), SIZE))
    with pytest.raises(DataError, match="not finite"):
        try_it(network, images=[torch.full((3, *SIZE), torch.nan)] * 2)
