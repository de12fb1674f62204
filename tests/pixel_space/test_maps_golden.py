"""Maps, boxes and centres that the original computed; see golden/README.md for where it is right."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pixpnet.backbones import build_backbone
from pixpnet.pixel_space import pixel_space_map
from pixpnet.prototypes import DISTANCES, SIMILARITIES
from pixpnet.receptive_fields import ReceptiveField, receptive_field

CASES = json.loads((Path(__file__).parents[1] / "golden" / "maps" / "index.json").read_text())
BEYOND_THE_IMAGE = "vgg11bn_mp4_64_cos_log"
"""Here the original takes the largest clipped side for σ and centre, which ours does not."""


@functools.cache
def field_of(backbone: str, layer: str, side: int) -> ReceptiveField:
    return receptive_field(build_backbone(backbone, layer=layer, pretrained=False), (side, side))


def close(ours: torch.Tensor, theirs: np.ndarray) -> None:
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_meets_the_original(case, golden):
    recorded = np.load(golden / "maps" / f"{case['name']}.npz")
    field = field_of(case["backbone"], case["layer"], case["size"])
    top, bottom, left, right = np.moveaxis(recorded["rf_idxs"], -1, 0)
    np.testing.assert_array_equal(field.boxes, np.stack([left, top, right, bottom], axis=-1))

    distances = torch.from_numpy(recorded["proto_dists"])
    similarities = SIMILARITIES[case["activation"]](DISTANCES[case["distance"]], 1e-6)(distances)
    size = (case["size"], case["size"])
    close(pixel_space_map("upsampling", similarities, field, size)[0], recorded["upscale"])
    if case["name"] != BEYOND_THE_IMAGE:
        for reduction, name in {"max": "map_max", "mean": "map_avg", "sum": "map_sum"}.items():
            ours = pixel_space_map(
                "receptive_field",
                similarities,
                field,
                size,
                reduction=reduction,
                sigma_factor=case["sigma_factor"],
            )
            close(ours[0], recorded[name])

    cells = distances.flatten(2).argmin(dim=2)[0].tolist()
    best = [divmod(cell, field.grid_size[1]) for cell in cells]
    assert [field.box(*cell) for cell in best] == [tuple(box) for box in recorded["bboxes"][0].tolist()]
    share = case["size"] / field.grid_size[0], case["size"] / field.grid_size[1]
    assert [round((row + 0.5) * share[0]) for row, _ in best] == recorded["centers_y"][0].tolist()
    assert [round((column + 0.5) * share[1]) for _, column in best] == recorded["centers_x"][0].tolist()


def test_the_cases_cover_what_they_should():
    assert len(CASES) == 5
    assert BEYOND_THE_IMAGE in {case["name"] for case in CASES}
    assert {case["sigma_factor"] for case in CASES} == {1.0, 0.25}
