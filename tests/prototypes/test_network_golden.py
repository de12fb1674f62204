"""The original implementation's numbers: tests/golden/README.md, row `model`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import tiny_network
from torch.nn import functional

from pixpnet.prototypes import average_separation_loss, build_add_on, cluster_loss, l1_loss, separation_loss

CASES = json.loads((Path(__file__).parents[1] / "golden/model/index.json").read_text())
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(params=CASES, ids=lambda case: case["file"].removesuffix(".npz"))
def case(request):
    return request.param


@pytest.fixture
def recorded(case, golden):
    with np.load(golden / "model" / case["file"]) as file:
        arrays = {name: file[name] for name in file.files}
    return {
        name: torch.from_numpy(np.asarray(array))
        for name, array in arrays.items()
        if array.dtype.kind in "fi"
    }


@pytest.fixture
def network(case, recorded):
    network = tiny_network(
        num_prototypes=case["P"],
        distance=case["distance"],
        prototype_activation=case["activation"],
        readout_type=case["readout"],
        class_specific=case["class_specific"],
    )
    with torch.no_grad():
        network.prototypes.copy_(recorded["prototype_vectors"])
        if case["readout"] != "proto":
            network.head.weight.copy_(recorded["readout_weight"].reshape(network.head.weight.shape))
    return network


def test_outputs(network, recorded):
    output = network.from_features(recorded["z"])
    assert torch.equal(output.cells, recorded["min_dist_idxs"])
    torch.testing.assert_close(output.min_distances, recorded["min_distances"], **CLOSE)
    torch.testing.assert_close(output.similarities, recorded["max_similarities"], **CLOSE)
    torch.testing.assert_close(output.logits, recorded["logits"], **CLOSE)


def test_maps(network, recorded):
    torch.testing.assert_close(network.distance_maps(recorded["z"]), recorded["distances"], **CLOSE)


def test_losses(case, network, recorded):
    output = network.from_features(recorded["z"])
    own = network.own_class.T[recorded["y"]]
    found = {
        "loss_xent": functional.cross_entropy(output.logits, recorded["y"]),
        "loss_cluster": cluster_loss(output.min_distances, own),
        "loss_separation": separation_loss(output.min_distances, own),
        "loss_avg_separation": average_separation_loss(output.min_distances, own),
        "loss_l1": l1_loss(network.head.penalised_weights()),
    }
    compared = [name for name in found if name in recorded]
    assert len(compared) >= 3
    for name in compared:
        torch.testing.assert_close(found[name], recorded[name], **CLOSE)


def test_start(case, recorded):
    """The mask and the head's first weights; at random where prototypes belong to no class."""
    network = tiny_network(
        num_prototypes=case["P"], readout_type=case["readout"], class_specific=case["class_specific"]
    )
    if "prototype_class_identity" in recorded:
        assert torch.equal(network.own_class, recorded["prototype_class_identity"].bool())
    if case["class_specific"] and case["readout"] != "proto":
        first = recorded["readout_weight_init"].reshape(network.head.weight.shape)
        assert torch.equal(network.head.weight, first)


def test_add_on_layers(case):
    add_on = build_add_on(case["add_on"], 256, prototype_dim=16, activation="sigmoid", init_weights=True)
    assert [name for name, _ in add_on.named_children()] == case["addon_layers"]
    assert {name: list(tensor.shape) for name, tensor in add_on.state_dict().items()} == case["addon_shapes"]
