"""``pixpnet evaluate``: table, files and wrong usage."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pixpnet.evaluation import METRICS
from pixpnet.pixel_space import MAPPINGS


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """A run directory that may be written into."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_table_and_files(pixpnet: Callable, run_copy: Path) -> None:
    some = ("--metrics", "consistency,stability,relevance-ordering", "--methods", "receptive_field,random")
    small = ("--steps", 4, "--samples", 2, "--seed", 5, "--half-size", 9)
    ended = pixpnet("evaluate", run_copy, *some, *small)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    table = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    file = run_copy / "results" / "interpretability.yaml"
    measurements = yaml.safe_load(file.read_text())["measurements"]
    assert len(table) == sum(len(one["values"]) for one in measurements) == 12
    assert [row[0] for row in table if row[0]] == [
        "Stability, pixpnet-2023",
        "Consistency, pixpnet-2023",
        "Relevance ordering",
    ]
    first, area = measurements[0]["values"]["hard"], measurements[-1]["values"]["area"]
    assert measurements[0]["settings"] == {"seed": 5, "center": "mapping", "half_size": 9.0}
    assert table[0][1:4] == ["receptive field", "same parts under noise", f"{first['value']:.1f} %"]
    assert table[0][4:] == [f"{first['low']:.1f} to {first['high']:.1f}", "6", ""]
    assert (table[-2][1], table[-2][3], table[-2][5]) == (
        "random",
        f"{area['value']:.3f}",
        str(area["count"]),
    )
    written = [line for line in lines if line.startswith("/")]
    names = ["interpretability.yaml", "interpretability.csv", "interpretability_curves.csv"]
    names += ["relevance_ordering.png", "relevance_ordering.pdf"]
    assert written == [str(file.with_name(name)) for name in names]
    first_text = file.read_text()
    again = pixpnet("evaluate", run_copy, *some, *small)
    assert (again.code, again.out, file.read_text()) == (0, ended.out, first_text)


def test_another_folder_and_protocol(pixpnet: Callable, tiny_run: Path, tmp_path: Path) -> None:
    options = ("--metrics", "stability", "--protocol", "eval-2023", "--out", tmp_path / "new")
    ended = pixpnet("evaluate", tiny_run, *options)
    assert ended.code == 0
    assert "Stability, eval-2023" in ended.out
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "interpretability.csv",
        "interpretability.yaml",
    ]


def test_fewer_pairs_are_attacked(pixpnet: Callable, run_copy: Path) -> None:
    options = ("--metrics", "misalignment", "--methods", "receptive_field", "--pairs", 3)
    assert pixpnet("evaluate", run_copy, *options).code == 0
    written = (run_copy / "results" / "interpretability.yaml").read_text()
    (measurement,) = yaml.safe_load(written)["measurements"]
    assert (measurement["settings"]["pairs"], measurement["values"]["pairs"]["value"]) == (3, 3.0)


def test_measurements_of_another_version_are_shown(pixpnet: Callable, run_copy: Path) -> None:
    assert pixpnet("evaluate", run_copy, "--metrics", "sparsity").code == 0
    file = run_copy / "results" / "interpretability.yaml"
    (one,) = (written := yaml.safe_load(file.read_text()))["measurements"]
    one["values"]["as_it_was"] = one["values"].pop("deciding")
    written["measurements"].append({**one, "metric": "former_metric"})
    file.write_text(yaml.safe_dump(written))
    ended = pixpnet("evaluate", run_copy, "--metrics", "sparsity,pointing", "--samples", 2)
    assert (ended.code, ended.err) == (0, "")
    assert "as_it_was" in ended.out


def test_interrupted(pixpnet: Callable, run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(METRICS, "sparsity", replace(METRICS["sparsity"], measure=stop))
    ended = pixpnet("evaluate", run_copy, "--metrics", "sparsity")
    assert (ended.code, ended.out) == (130, "")
    assert "the same command goes on from there" in ended.err


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--steps", "none"], "argument --steps: 'none' is not a whole number ≥ 1"),
        (["--samples", "0"], "argument --samples"),
        (["--pairs", "0"], "argument --pairs"),
        (["--half-size", "nan"], "'nan' is not a number > 0"),
        (["--metrics", ","], "argument --metrics: no name is given"),
        (["--metrics", "purty"], "metric='purty' is none of .*did you mean purity"),
        (["--methods", "prp2"], "method='prp2' is none of"),
        (["--protocol", "eval"], "protocol='eval' is none of"),
        (["--out", __file__], "is a file; give a folder"),
        (["--metric", "purity"], "unknown argument '--metric'"),
    ],
    ids=str,
)
def test_wrong_usage(pixpnet: Callable, tiny_run: Path, wrong: list[str], words: str) -> None:
    ended = pixpnet("evaluate", tiny_run, *wrong)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("pixpnet: error: ")
    assert ended.err.count("\n") == 1
    assert re.search(words, ended.err)
    assert not (tiny_run / "results" / "interpretability.yaml").exists()


def test_the_help_names_every_metric_and_mapping(pixpnet: Callable) -> None:
    out = pixpnet("evaluate", "--help").out
    assert all(name in out for name in (*METRICS, *MAPPINGS))
