"""Receptive fields against those of the original implementation, which were confirmed by gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixpnet.backbones import build_model, named_layers
from pixpnet.receptive_fields import receptive_field, receptive_fields

FILES = sorted((Path(__file__).parents[1] / "golden" / "rf").glob("*.npz"))
NOT_PICKABLE = {("squeezenet1_1", "avgpool")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_recorded_layer_is_met_exactly(file: Path):
    name, _, size = file.stem.rpartition("_")
    height, width = map(int, size.split("x"))
    with np.load(file) as recorded:
        expected = {
            layer: recorded[layer]
            for layer in recorded.files
            if "@" not in layer and (name, layer) not in NOT_PICKABLE
        }
    nodes = {layer.name: layer.node for layer in named_layers(name)}
    model = build_model(name)
    fields = receptive_fields(model, (height, width), [nodes[layer] for layer in expected])
    assert len(expected) >= 6
    for layer, boxes in expected.items():
        top, bottom, left, right = np.moveaxis(boxes.astype(np.int64), -1, 0)
        ours = fields[nodes[layer]].boxes
        np.testing.assert_array_equal(ours, np.stack([left, top, right, bottom], axis=-1), err_msg=layer)


def test_squeezenet_pools_all_that_its_last_convolution_sees():
    field = receptive_field(build_model("squeezenet1_1"), (96, 96))
    assert field.boxes.tolist() == [[[0, 0, 95, 95]]]
