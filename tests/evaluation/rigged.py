"""Networks of which the answers are known, in the place of a run's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from pixpnet.evaluation import Subject
from pixpnet.prototypes import LinearHead, LogSimilarity, PrototypeNetwork
from pixpnet.runs import Run, load


def with_network(run: Run, backbone, prototypes, own_class, *, distance="l2", **options) -> Subject:
    """The run with other layers and prototypes."""
    network = PrototypeNetwork(
        backbone.eval(),
        nn.Identity(),
        prototypes=prototypes,
        head=LinearHead(own_class, correct_strength=1.0, incorrect_strength=0.0),
        distance=distance,
        similarity=LogSimilarity(epsilon=1e-3),
    )
    return Subject(replace(run, network=network, sources=()), device=torch.device("cpu"), **options)


class Colours(nn.Conv2d):
    """The colours of the image, in [0, 1]: every cell is a pixel."""

    def __init__(self, run: Run) -> None:
        super().__init__(3, 3, 1)
        self.weight = nn.Parameter(torch.diag(torch.tensor(run.std))[:, :, None, None])
        self.bias = nn.Parameter(torch.tensor(run.mean))


def colour_detector(run_directory: Path, organs: list[str]) -> Subject:
    """Of every class one prototype: the colour of one of its parts."""
    run = load(run_directory)
    subject = Subject(run, device=torch.device("cpu"))
    root = subject.image_set.root
    ids = json.loads((root / "attributes.json").read_text())["part_ids"]
    colours = []
    for label, organ in enumerate(organs):
        record = next(record for record in subject.image_set.train if record.label == label)
        pixels = np.asarray(Image.open(record.path).convert("RGB")) / 255
        colours.append(np.median(pixels[np.isin(part_numbers(record), ids[organ])], axis=0))
    prototypes = torch.tensor(np.array(colours), dtype=torch.float32)[:, :, None, None]
    return with_network(run, Colours(run), prototypes, torch.eye(len(organs)).bool())


def part_map_of(record) -> Path:
    """The file with the part map of an image of SynthBirds."""
    return Path(str(record.path).replace("/images/", "/part_masks/"))


def part_numbers(record) -> np.ndarray:
    """The part map of an image of SynthBirds, as it lies on the disk."""
    return np.asarray(Image.open(part_map_of(record)))
