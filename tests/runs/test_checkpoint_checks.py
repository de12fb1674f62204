"""Nothing in a checkpoint is believed unchecked: bytes, fields, tensors, sources."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pixpnet.errors import CheckpointError
from pixpnet.runs import RunDirectory, load, load_checkpoint


@pytest.fixture(scope="module")
def saved(tiny_run: Path) -> Path:
    return RunDirectory(tiny_run).last_checkpoint()


@pytest.fixture
def changed(saved: Path, tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint in which something was changed."""

    def changed(change: Callable[[dict[str, Any]], object]) -> Path:
        content = torch.load(saved, weights_only=True)
        change(content)
        torch.save(content, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return changed


def _refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 500
    return message


def _read(path: Path) -> dict[str, torch.Tensor] | str:
    """What is read, or the error."""
    try:
        return load_checkpoint(path).network
    except CheckpointError as error:
        return str(error)


@pytest.mark.parametrize("share", [0.003, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_no_flipped_bit_changes_anything_unnoticed(share: float, saved: Path, tmp_path: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[int(share * len(data))] ^= 4
    (tmp_path / "flipped.ckpt").write_bytes(data)
    found, network = _read(tmp_path / "flipped.ckpt"), load_checkpoint(saved).network
    if isinstance(found, str):
        assert "is damaged" in found
    else:  # padding between tensors
        assert all(torch.equal(tensor, found[name]) for name, tensor in network.items())


def test_a_flipped_bit_of_a_weight_is_noticed(saved: Path, tmp_path: Path) -> None:
    data, tensor = bytearray(saved.read_bytes()), load_checkpoint(saved).network["prototypes"]
    place = data.index(tensor.numpy().tobytes())
    data[place + 5] ^= 1
    (tmp_path / "flipped.ckpt").write_bytes(data)
    assert "is damaged" in _refused(tmp_path / "flipped.ckpt")


BOMB = """
import resource, sys
from pixpnet.runs import load_checkpoint
from pixpnet.errors import CheckpointError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_checkpoint(sys.argv[1])
except CheckpointError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_zip_bomb_is_refused_before_it_takes_memory(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(tmp_path / "bomb.ckpt", "w") as bomb:
        for entry in whole.infolist():
            content = whole.read(entry)
            if entry.filename.endswith("/data/0"):
                content = bytes(300_000_000)
            bomb.writestr(entry.filename, content, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.ckpt").stat().st_size < 10e6
    command = [sys.executable, "-c", BOMB, str(tmp_path / "bomb.ckpt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 100e6


WRONG: dict[str, list[Any]] = {
    "config_yaml": [None, 3, b"model: {}", "[", "model: 3", "model: {name: protonet}", "a" * 10_000],
    "class_names": [None, 3, "names", [], [1, 2, 3], ["one", "two"], [["a"], "b", "c"]],
    "image_size": [None, "64", (64,), ("64", "64"), (64.0, 64.0), (0, 64), (100_000, 100_000), (True, 64)],
    "mean": [None, (0.5, 0.5), ("a", "b", "c"), (0.5, 0.5, float("nan")), 0.5],
    "std": [None, (0.2, 0.2), (0.2, 0.0, 0.2), (0.2, float("inf"), 0.2), (0.2, 0.2, -1.0)],
    "network": [None, 3, {}, {"prototypes": 3}, {1: torch.zeros(1)}],
    "sources": [None, 3, "text", [3], [{}], {"a": 1}],
    "epoch": [None, "3", -1, 2.5, True],
    "step": ["3", -1],
    "classifier": [3, {"weight": "text"}, {"weight": torch.tensor(float("nan"))}],
    "optimizer": [3, "adam"],
    "seed": [None, "3", -1],
    "metrics_bytes": [None, "3", -1],
    "best_accuracy": ["0.5", float("nan")],
    "best_checkpoint": [3, "../../../elsewhere.ckpt", ""],
    "train_seconds": [None, "3", -1.0, float("inf")],
    "average": [3, {"weight": torch.tensor([float("inf")])}],
}
"""Field -> values that it can't have."""


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in WRONG.items() for value in values],
    ids=lambda value: value if isinstance(value, str) and value in WRONG else "",
)
def test_every_field_is_checked(field: str, value: Any, changed: Callable[..., Path]) -> None:
    _refused(changed(lambda content: content.update({field: value})))


def _of_source(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["sources"][1].update(values)


def _of_network(name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["network"].update({name: change(content["network"][name])})


WEIGHT = "backbone.body.stem.0.weight"

CHANGES = {
    "too few sources": (lambda content: content["sources"].pop(), "it has 6 prototypes, but sources of 5"),
    "swapped sources": (lambda content: content["sources"].reverse(), "is said to be that of prototype 5"),
    "a source without a box": (
        lambda content: content["sources"][1].pop("box"),
        "source of prototype 1 should",
    ),
    "a box as text": (
        _of_source(box="0 0 1 1"),
        "source of prototype 1.box should be values of left, .*, and is '0 0 1 1'",
    ),
    "another box": (_of_source(box=(-5.0, -5.0, 9999.0, 9999.0)), r"the box \(-5.0, .*, but its cell"),
    "a cell outside": (_of_source(cell=(0, 99)), r"its cell \(0, 99\) is not one of \(8, 8\)"),
    "a cell as text": (_of_source(cell="00"), "prototype 1.cell should be a list of 2, and is '00'"),
    "a cell below 0": (_of_source(cell=(0, -1)), r"damaged cell: \(0, -1\)"),
    "another class": (_of_source(label=2), "of class 2"),
    "a class that is none": (_of_source(label=99), "there are 3 classes"),
    "no checksum": (_of_source(sha256="x"), "damaged sha256"),
    "NaN distance": (
        _of_source(distance_before=float("nan")),
        "distance_before should be a finite number, and is nan",
    ),
    "no tensor": (lambda content: content["network"].pop(WEIGHT), "don't fit its own configuration.*Missing"),
    "no mask": (lambda content: content["network"].pop("head.own_class"), "lacks head.own_class"),
    "doubles": (_of_network(WEIGHT, torch.Tensor.double), f"{WEIGHT} is torch.float64, and should be"),
    "NaN": (
        _of_network(WEIGHT, lambda one: one * float("nan")),
        f"{WEIGHT}' of its network has values that are not finite",
    ),
    "another shape": (_of_network(WEIGHT, lambda one: one[1:]), "don't fit its own configuration"),
    "wide prototypes": (
        _of_network("prototypes", lambda one: one[:, :1]),
        r"prototypes have shape \(1, 1, 1\)",
    ),
    "a hollow tensor": (
        _of_network("prototypes", lambda one: one[:1].expand(10**9, -1, -1, -1)),
        "has the shape .* but not as many values",
    ),
    "a mask of numbers": (_of_network("head.own_class", torch.Tensor.float), "torch.float32"),
    "complex": (_of_network(WEIGHT, lambda one: one + 1j), "should be an ordinary tensor"),
    "sparse": (_of_network(WEIGHT, torch.Tensor.to_sparse), "should be an ordinary tensor"),
    "another layer": (
        lambda content: content.update(config_yaml=re.sub("layer2", "layer3", content["config_yaml"])),
        "don't fit its own configuration",
    ),
    "a smaller kernel": (lambda content: content.update(image_size=(96, 96)), "the box"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_what_does_not_fit_together(change: Any, message: str, changed: Callable[..., Path]) -> None:
    assert re.search(message, _refused(changed(change)))
