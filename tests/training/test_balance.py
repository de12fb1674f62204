"""Classes of very different size, drawn equally often where that is wanted."""

import shutil

import pytest
import torch

from pixpnet.config import parse_config
from pixpnet.runs import load
from pixpnet.training import BALANCES, train


@pytest.mark.parametrize(
    ("balance", "labels", "is_balanced"),
    [
        ("on", [0, 1], True),
        ("off", [0, 0, 0, 0, 1], False),
        ("auto", [0, 0, 0, 1], True),
        ("auto", [1, 1, 0], False),
    ],
)
def test_when_classes_are_balanced(balance, labels, is_balanced):
    assert BALANCES[balance](labels) is is_balanced


@pytest.fixture(scope="module")
def weights(birds, tiny_arguments, tmp_path_factory):
    """What an epoch learns with an option, of classes with so many images each."""
    place = tmp_path_factory.mktemp("balance")

    def learned(balance, counts):
        root = place / "_".join(map(str, counts))
        for folder, count in zip(sorted((birds / "images").iterdir()), counts, strict=True):
            (root / folder.name).mkdir(parents=True, exist_ok=True)
            for picture in sorted(folder.iterdir())[:count]:
                shutil.copy(picture, root / folder.name)
        options = {"dataset__name": "folder", "dataset__root": root, "train__balance": balance}
        options |= {"train__epochs": 2, "train__push_every": 2}
        config = parse_config(tiny_arguments(place / f"{root.name} {balance}", **options))
        return load(train(config, progress=False)).network.state_dict()

    return learned


def same(left, right):
    return all(torch.equal(left[name], tensor) for name, tensor in right.items())


def test_a_run_draws_as_it_is_told(weights):
    uneven = {balance: weights(balance, (14, 4, 14)) for balance in BALANCES}
    assert not same(uneven["on"], uneven["off"])
    assert same(uneven["on"], uneven["auto"])
    even = {balance: weights(balance, (14, 14, 14)) for balance in ("off", "auto")}
    assert same(even["off"], even["auto"])
