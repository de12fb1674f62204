"""A distance and a mapping that an outsider adds, one class or function and one entry each, everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from distance_oracles import ORACLES
from pixpnet.explanation import Explanation, explain_image
from pixpnet.pixel_space import MAPPINGS, Mapping, MapRequest
from pixpnet.projection import PatchCandidates
from pixpnet.prototypes import (
    DISTANCES,
    SIMILARITIES,
    LinearHead,
    PatchSample,
    PrototypeNetwork,
    cluster_loss,
    regular_own_class,
)
from pixpnet.receptive_fields import receptive_field
from pixpnet.types import IMAGENET, Box

pytestmark = pytest.mark.usefixtures("l1_in_the_table")

LABELS = torch.arange(12) % 3


class Backbone(nn.Sequential):
    out_channels = 6

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, self.out_channels, 3, stride=2), nn.ReLU())


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(12, 3, 18, 22, generator=generator) + LABELS[:, None, None, None]


@pytest.fixture(scope="module")
def network(l1_in_the_table, images) -> PrototypeNetwork:
    """Started from the data, trained for a few steps, and projected."""
    torch.manual_seed(0)
    own_class, distance = regular_own_class(6, 3, class_specific=True), DISTANCES["l1"]
    network = PrototypeNetwork(
        Backbone(),
        nn.Conv2d(6, 4, 1),
        prototypes=torch.rand(6, 4, 1, 1),
        head=LinearHead(own_class, correct_strength=1.0, incorrect_strength=-0.5),
        distance="l1",
        similarity=SIMILARITIES["log"](distance, 1e-4),
    )
    sample = PatchSample(own_class, kernel_size=1)
    sample.update(network.features(images), LABELS, torch.arange(12))
    network.prototypes.data.copy_(sample.centres(distance="l1"))
    losses = []
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(6):
        output = network(images)
        own = network.own_class.T[LABELS]
        loss = functional.cross_entropy(output.logits, LABELS) + cluster_loss(output.min_distances, own)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    network.eval()
    candidates = PatchCandidates(network.prototypes, own_class, distance="l1", duplicate_filter="sample")
    with torch.no_grad():
        z = network.features(images)
        candidates.update(z, LABELS, torch.arange(12))
        found = candidates.assign()
        before = ORACLES["l1"](found.patches.flatten(1).double(), network.prototypes.flatten(1).double())
        torch.testing.assert_close(found.distances.double(), before, rtol=1e-4, atol=1e-6)
        network.prototypes.copy_(found.patches)
        assert network.from_features(z).min_distances[found.image_index, torch.arange(6)].tolist() == [0] * 6
    return network


def halves(request: MapRequest) -> torch.Tensor:
    """The largest similarity in the left half, 0 in the right."""
    maps = torch.zeros(*request.similarities.shape[:2], *request.image_size)
    maps[..., : request.image_size[1] // 2] = request.similarities.amax((2, 3))[..., None, None]
    return maps


@pytest.fixture
def explanation(network, images, monkeypatch) -> Explanation:
    entry = Mapping(
        halves, title="halves", note="Method halves.", region=lambda field, i, j: Box(0, 0, 9, 18)
    )
    monkeypatch.setitem(MAPPINGS, "halves", entry)
    field = receptive_field(network.backbone, (18, 22))
    return explain_image(
        network, images[4], normalization=IMAGENET, receptive_field=field, class_names=("a", "b", "c")
    )


def test_a_distance_of_ones_own_is_explained(explanation):
    assert sum(one.contribution for one in explanation.evidence) == pytest.approx(explanation.logit, rel=1e-4)
    for method in MAPPINGS:
        assert np.isfinite(explanation.map(0, method)).all()
    assert explanation.map(0, "prp").max() > 0


def test_a_mapping_of_ones_own_is_drawn(explanation):
    one = explanation.evidence[0]
    shown = explanation.map(one.prototype, "halves")
    assert shown[:, :11] == pytest.approx(one.similarity)
    assert (shown[:, 11:] == 0).all()
    for against in (None, explanation.runner_up):
        figure = explanation.figure(top_k=1, method="halves", against=against)
        assert any("Method halves." in text.get_text() for text in figure.texts)
        frame = figure.axes[0].patches[0]
        assert (frame.get_width(), frame.get_height()) == (9, 18)
