"""The evidence of one image sums to its logits, for every head, and can be written down."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pixpnet.config import ModelConfig
from pixpnet.errors import ConfigError
from pixpnet.explanation import Explanation, explain_image
from pixpnet.pixel_space import MAPPINGS, prp_maps
from pixpnet.prototypes import PrototypeNetwork, build_network
from pixpnet.receptive_fields import receptive_field
from pixpnet.types import Box, Normalization

SIZE = (20, 26)
NAMES = ("001.Blue_Wren", "002.Red_Wren", "003.Gull", "004.Gull")
NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
HEADS = [
    {"readout_type": "linear"},
    {"readout_type": "linear", "class_specific": False},
    {"readout_type": "linear", "distance": "l2", "prototype_activation": "linear"},
    {"readout_type": "sparse"},
    {"readout_type": "sparse", "class_specific": False, "distance": "cosine"},
    {"readout_type": "proto", "prototype_kernel_size": 2},
]


class Backbone(nn.Sequential):
    out_channels = 12

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, self.out_channels, 3, stride=2), nn.ReLU())


def build(own_class: Tensor | None = None, **options) -> PrototypeNetwork:
    """A network of 8 prototypes whose head has no two equal weights."""
    torch.manual_seed(0)
    config = ModelConfig(**({"num_prototypes": 8, "prototype_dim": 6} | options))
    network = build_network(config, num_classes=4, backbone=Backbone(), own_class=own_class)
    for weight in network.head.parameters():
        nn.init.normal_(weight)
    return network.eval()


def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def explained(network: PrototypeNetwork) -> Explanation:
    image = torch.from_numpy(pixels()).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (NORMALIZATION.mean, NORMALIZATION.std))
    field = receptive_field(network.backbone, SIZE).for_kernel(network.kernel_size)
    return explain_image(
        network, (image - mean) / std, normalization=NORMALIZATION, receptive_field=field, class_names=NAMES
    )


@pytest.mark.parametrize("options", HEADS, ids=lambda options: "-".join(map(str, options.values())))
def test_contributions_sum_to_every_logit(options: dict) -> None:
    network = build(**options)
    explanation = explained(network)
    logits = network(explanation.maps.image[None]).logits[0].tolist()
    assert explanation.logits == pytest.approx(logits, rel=1e-5)
    assert explanation.logit == max(explanation.logits)
    assert len({round(logit, 4) for logit in logits}) == len(logits)
    for target, logit in enumerate(logits):
        evidence = explanation.evidence_for(target)
        assert sorted(one.prototype for one in evidence) == list(range(8))
        assert sum(one.contribution for one in evidence) == pytest.approx(logit, rel=1e-4, abs=1e-5)
        contributions = [one.contribution for one in evidence]
        assert contributions == sorted(contributions, reverse=True)
    assert explanation.evidence == explanation.evidence_for(explanation.class_name)


@pytest.mark.parametrize("options", HEADS, ids=lambda options: "-".join(map(str, options.values())))
def test_a_contrast_sums_to_the_difference_of_the_logits(options: dict) -> None:
    explanation = explained(build(**options))
    for other in set(range(4)) - {explanation.predicted}:
        contrast = explanation.against(other)
        difference = explanation.logit - explanation.logits[other]
        assert contrast.difference == pytest.approx(difference)
        assert sum(share.difference for share in contrast.shares) == pytest.approx(difference, rel=1e-4)
        for_target, for_other = (
            [share.difference for share in side] for side in (contrast.for_target, contrast.for_other)
        )
        assert for_target == sorted((one for one in for_target if one > 0), reverse=True)
        assert for_other == sorted(one for one in for_other if one < 0)
        zero = sum(share.difference == 0 for share in contrast.shares)
        assert len(for_target) + len(for_other) + zero == 8


def test_boxes_hold_the_best_patch() -> None:
    explanation = explained(build(prototype_kernel_size=2))
    maps = explanation.maps.similarities[0]
    for one in explanation.evidence:
        row, column = one.cell
        assert float(maps[one.prototype, row, column]) == float(maps[one.prototype].max())
        assert one.similarity == pytest.approx(float(maps[one.prototype].max()))
        assert one.box == Box(2 * column, 2 * row, 2 * column + 5, 2 * row + 5)


def test_owners_of_prototypes() -> None:
    own = torch.eye(4, dtype=torch.bool)
    own[2, 3], own[3] = True, False
    explanation = explained(build(own, readout_type="linear"))
    owners = {one.prototype: (one.class_index, one.class_name) for one in explanation.evidence}
    assert owners == {
        0: (0, "001.Blue_Wren"),
        1: (1, "002.Red_Wren"),
        2: (None, "classes 003.Gull, 004.Gull"),
        3: (None, "no class"),
    }
    agnostic = explained(build(class_specific=False))
    assert {(one.class_index, one.class_name) for one in agnostic.evidence} == {(None, "every class")}


def test_the_image_is_the_one_before_normalisation() -> None:
    assert (explained(build()).image == pixels()).all()


def test_json_keeps_every_number() -> None:
    explanation = explained(build())
    read = json.loads(explanation.to_json())
    assert read == explanation.to_dict()
    assert read["class_name"] == NAMES[read["predicted"]]
    assert read["probability"] == max(read["probabilities"])
    for one, kept in zip(read["evidence"], explanation.evidence, strict=True):
        assert one["contribution"] == one["similarity"] * one["weight"] == kept.contribution
        assert Box(*one["box"]) == kept.box
        assert (one["prototype"], tuple(one["cell"]), one["source"]) == (kept.prototype, kept.cell, None)
    contrast = explanation.against(explanation.runner_up).to_dict()
    assert json.loads(json.dumps(contrast)) == contrast
    assert sum(share["difference"] for share in contrast["shares"]) == pytest.approx(contrast["difference"])


def test_every_mapping_gives_a_map() -> None:
    explanation = explained(build())
    best = explanation.evidence[0]
    maps = {method: explanation.map(best.prototype, method) for method in MAPPINGS}
    assert set(maps) == set(MAPPINGS)
    for method, values in maps.items():
        assert (values.shape, values.dtype) == (SIZE, np.float32), method
    painted = maps["receptive_field"]
    assert painted.max() == pytest.approx(best.similarity, rel=1e-4)
    y, x = divmod(int(painted.argmax()), SIZE[1])
    assert best.box.contains(x + 0.5, y + 0.5)
    top, bottom, left, right = (
        int(edge) for edge in (best.box.top, best.box.bottom, best.box.left, best.box.right)
    )
    relevance = maps["prp"].copy()
    assert relevance.max() > 0
    relevance[top:bottom, left:right] = 0
    assert not relevance.any()
    assert (explanation.map(0, "random") == explanation.map(0, "random")).all()
    assert (explanation.map(0, "random") != explanation.map(0, "random", seed=1)).any()
    assert (explanation.map(0, reduction="sum") > explanation.map(0)).any()
    mean, std = torch.tensor(NORMALIZATION.mean), torch.tensor(NORMALIZATION.std)
    limits = {"lowest": -mean / std, "highest": (1 - mean) / std}
    image, prototypes = explanation.maps.image[None], [best.prototype]
    wanted = prp_maps(explanation.maps.network, image, prototypes=prototypes, **limits)[0, 0]
    assert maps["prp"] == pytest.approx(wanted.numpy(), rel=1e-4)
    with pytest.raises(ConfigError, match="did you mean upsampling"):
        explanation.map(0, "upsample")


@pytest.mark.parametrize(
    ("name", "index"),
    [("002.Red_Wren", 1), ("red wren", 1), ("Red_Wren", 1), ("1", 1), (1, 1), ("003.Gull", 2)],
)
def test_classes_are_found_as_people_type_them(name: int | str, index: int) -> None:
    explanation = explained(build())
    assert explanation.evidence_for(name) == explanation.evidence_for(index)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gull", "'gull' fits several classes; nearest: 003.Gull, 004.Gull (or an index from 0 to 3)."),
        ("red_wrem", "'red_wrem' is not one of the classes; nearest: 002.Red_Wren, 001.Blue_Wren"),
        ("4", "there is no class 4; the classes are 0 to 3."),
        (-1, "there is no class -1; the classes are 0 to 3."),
        ("-1", "there is no class -1; the classes are 0 to 3."),
        ("", "'' is not one of the classes; nearest:"),
    ],
)
def test_a_class_that_is_not_there(name: int | str, message: str) -> None:
    explanation = explained(build())
    methods: tuple[Callable, ...] = (explanation.evidence_for, explanation.against)
    for method in methods:
        with pytest.raises(ConfigError) as error:
            method(name)
        assert str(error.value).startswith(message)


def test_the_predicted_class_is_no_contrast_to_itself() -> None:
    explanation = explained(build())
    with pytest.raises(ConfigError, match=f"{explanation.class_name} is the predicted class; name another"):
        explanation.against(explanation.predicted)
    order = sorted(range(4), key=lambda index: -explanation.logits[index])
    assert [explanation.predicted, explanation.runner_up] == order[:2]
