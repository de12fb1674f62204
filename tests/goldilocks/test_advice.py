"""Pareto ranks against their definition; advice, and the configuration that comes with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goldilocks_rows import row
from hypothesis import given
from hypothesis import strategies as st

from pixpnet.config import DatasetConfig, config_from_yaml, parse_config
from pixpnet.errors import ConfigError
from pixpnet.goldilocks import Row, advise, pareto_ranks, rank_rows, undertrained

CONFIGS = Path(__file__).parents[2] / "configs" / "protonets"


def _peeled(points: list[tuple[float, float]]) -> list[int]:
    """Ranks by taking away front after front, one point after the other."""
    ranks: dict[int, int] = {}
    for rank in range(1, len(points) + 1):
        left = [i for i in range(len(points)) if i not in ranks]
        for i in left:
            better = [
                points[j][0] >= points[i][0] and points[j][1] <= points[i][1] and points[j] != points[i]
                for j in left
            ]
            if not any(better):
                ranks[i] = rank
        if len(ranks) == len(points):
            break
    return [ranks[i] for i in range(len(points))]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14))
def test_ranks_are_what_peeling_gives(points: list[tuple[int, int]]) -> None:
    accuracy, mean_rf = np.array(points, dtype=float).reshape(-1, 2).T
    assert pareto_ranks(accuracy, mean_rf).tolist() == _peeled(points)


def test_ranks_of_a_small_example() -> None:
    accuracy = np.array([0.9, 0.8, 0.8, 0.7, 0.9])
    mean_rf = np.array([50.0, 10.0, 20.0, 30.0, 50.0])
    assert pareto_ranks(accuracy, mean_rf).tolist() == [1, 1, 2, 3, 1]


def test_rows_are_ranked_among_their_like() -> None:
    rows = [
        row("resnet18", "layer1", 0.5, 10.0),
        row("resnet18", "layer1", 0.9, 10.0, mode="finetune"),
        row("resnet18", "layer2", 0.4, 20.0),
        row("resnet18", "layer2", 0.3, 20.0, readout="prototypes"),
        row("resnet18", "layer2", 0.2, 20.0, mode="finetune"),
        row("resnet18", "layer2", 0.2, 30.0, dataset="CIFAR10"),
    ]
    assert rank_rows(rows) == [1, 1, 2, 1, 2, 1]


ROWS = [
    row("resnet18", "layer1", 0.62, 4.0),
    row("resnet18", "layer2", 0.953, 12.34, stage_number=2),
    row("resnet18", "layer3", 0.99, 45.0),
    row("vgg11_bn", "maxpool3", 0.941, 15.2),
    row("vgg11_bn", "maxpool2", 0.953, 12.34, stage_number=3),
    row("squeezenet1_1", "features", 0.953, 30.0),
]


def test_the_best_layer_below_the_limit() -> None:
    advice = advise(ROWS)
    assert advice.line == (
        "best layer with mean RF ≤ 30 %: resnet18/layer2, accuracy 0.953 at 12.3 % "
        "(probe with average pooling; weights trained on this data); "
        "next: vgg11_bn/maxpool2 0.953 at 12.3 %, "
        "squeezenet1_1/features 0.953 at 30 %, vgg11_bn/maxpool3 0.941 at 15.2 %"
    )
    assert advice.best == ROWS[1]
    assert advice.runners_up == (ROWS[4], ROWS[5], ROWS[3])


def test_no_layer_sees_so_little() -> None:
    advice = advise(ROWS, 3.5)
    assert advice.line.startswith(
        "no layer has a mean RF ≤ 3.5 %; the smallest: resnet18/layer1, accuracy 0.620 at 4 % ("
    )
    assert (advice.best, advice.runners_up, advice.config_yaml) == (None, (), None)


def test_only_rows_that_compare_with_the_last_are_looked_at() -> None:
    others = [
        row("resnet50", "layer1", 1.0, 1.0, dataset="CIFAR10"),
        row("resnet50", "layer1", 1.0, 1.0, mode="finetune"),
        row("resnet50", "layer1", 1.0, 1.0, height=128, width=128),
    ]
    assert advise([*others, *ROWS]).best == ROWS[1]


def test_the_readout_of_prototypes_decides_where_it_was_measured() -> None:
    read = [row("vgg11_bn", "maxpool3", 0.5, 15.2, readout="prototypes")]
    advice = advise([*read, *ROWS])
    assert advice.best == read[0]
    assert "probe with max-similarity prototypes" in advice.line


def test_seeds_are_averaged() -> None:
    rows = [
        row("resnet18", "layer1", 0.9, 4.0, seed=0),
        row("resnet18", "layer1", 0.5, 4.0, seed=1),
        row("resnet18", "layer2", 0.8, 9.0, seed=0),
    ]
    advice = advise(rows)
    assert advice.best == rows[2]
    assert [found.test_accuracy for found in advice.runners_up] == [pytest.approx(0.7)]


def test_random_weights_are_called_so() -> None:
    probed = row("resnet18", "layer1", 0.9, 4.0, weights="random")
    assert "random weights: this says little of the network" in advise([probed]).line
    finetuned = row("resnet18", "layer1", 0.9, 4.0, weights="random", mode="finetune")
    assert advise([finetuned]).line.endswith("(finetune with average pooling; from random weights)")


def test_backbones_whose_accuracy_falls_with_depth_have_learned_too_little() -> None:
    rows = [
        row("resnet18", "layer1", 0.7, 9.0, stage_number=3),
        row("resnet18", "layer4", 0.61, 99.0, stage_number=6),
        row("squeezenet1_1", "features", 0.3, 95.0, stage_number=5),
        row("squeezenet1_1", "maxpool1", 0.7, 0.3, stage_number=2),
        row("vgg11_bn", "maxpool1", 0.7, 0.3, stage_number=2, weights="random"),
        row("vgg11_bn", "maxpool5", 0.2, 70.0, stage_number=6, weights="random"),
    ]
    assert undertrained(rows) == ["squeezenet1_1"]


def test_too_little_learned_is_said_of_the_mean_over_seeds() -> None:
    def seeds(first: tuple[float, float], second: tuple[float, float]) -> list[Row]:
        """Accuracies of two seeds at layer1 and layer4."""
        return [
            row("resnet18", stage, accuracy, mean_rf, stage_number=number, seed=seed)
            for seed in (0, 1)
            for stage, number, mean_rf, accuracy in zip(
                ("layer1", "layer4"), (3, 6), (9.0, 99.0), (first, second)[seed], strict=True
            )
        ]

    rising, falling = seeds((0.55, 0.6), (0.79, 0.8)), seeds((0.79, 0.78), (0.79, 0.2))
    assert undertrained(rising) == undertrained(rising[::-1]) == []
    assert undertrained(falling) == undertrained(falling[::-1]) == ["resnet18"]


def test_no_rows() -> None:
    with pytest.raises(ConfigError, match="no results"):
        advise([])


def test_the_configuration_from_scratch_is_that_of_the_demo_at_the_layer(tmp_path: Path) -> None:
    text = advise(ROWS, dataset=DatasetConfig(root="birds", size=64, classes=3)).config_yaml
    (tmp_path / "advised.yaml").write_text(text or "", encoding="utf-8")
    config = parse_config(["-c", str(tmp_path / "advised.yaml")])
    assert (config.model.feature_extractor, config.model.feature_layer) == ("resnet18", "layer2")
    assert (config.model.num_prototypes, config.model.pretrained) == (30, False)
    assert (config.dataset.root, config.dataset.size, config.dataset.classes) == ("birds", 64, 3)
    recipe = parse_config(["-c", str(CONFIGS / "proto-synthbirds.yaml")])
    assert (config.train, config.optimizer, config.loss, config.seed) == (
        recipe.train,
        recipe.optimizer,
        recipe.loss,
        recipe.seed,
    )
    assert config.dataset.val_size == recipe.dataset.val_size
    assert text is not None
    assert text.startswith("# best layer with mean RF ≤ 30 %: resnet18/layer2")


def test_the_configuration_of_pretrained_weights_is_the_papers() -> None:
    rows = [
        row(
            "vgg16_bn", "maxpool3", 0.9, 6.0, dataset="CUB200224", height=224, width=224, weights="pretrained"
        )
    ]
    config = config_from_yaml(advise(rows).config_yaml or "")
    paper = parse_config(["-c", str(CONFIGS / "proto-cub200224.yaml"), "--model.feature-layer", "maxpool3"])
    assert config == paper


@pytest.mark.parametrize(
    ("weights", "named", "epochs"),
    [
        ("pretrained", "small_resnet.pt", (0, 20, 4)),
        ("trained", "small_resnet.pt", (0, 40, 40)),
        ("random", None, (8, 72, 72)),
    ],
)
def test_training_starts_from_the_weights_that_were_measured(weights, named, epochs) -> None:
    rows = [row("small_resnet", "layer2", 0.9, 6.0, weights=weights)]
    config = config_from_yaml(advise(rows, weights=lambda best: f"{best.model}.pt").config_yaml or "")
    assert config.model.weights == named
    train = config.train
    assert (train.backbone_epochs, train.epochs, train.push_every) == epochs


def test_the_number_of_classes_may_be_given() -> None:
    rows = [row("resnet18", "layer2", 0.9, 6.0, dataset="FOLDER", height=96, width=96)]
    config = config_from_yaml(advise(rows, num_classes=7).config_yaml or "")
    assert (config.model.num_prototypes, config.dataset.name, config.dataset.size) == (70, "FOLDER", 96)


def test_only_what_is_not_default_stands_in_the_configuration() -> None:
    text = advise(ROWS).config_yaml or ""
    assert "cache" not in text
