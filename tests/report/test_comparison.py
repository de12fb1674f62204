"""Runs side by side: which values, which of them best, and what is said of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from made_runs import agreement, ordering

from pixpnet.cli import main
from pixpnet.errors import CheckpointError, ConfigError, FileError
from pixpnet.evaluation import METRICS
from pixpnet.report import Comparison, TableRow, compare, read_runs, to_markdown
from pixpnet.runs import load


def compared(*paths: Path) -> Comparison:
    return compare(read_runs(paths))


def lines_of(comparison: Comparison, group: str) -> dict[str, TableRow]:
    (found,) = (one for one in comparison.groups if one.title == group)
    return {f"{line.title}: {line.detail}" if line.detail else line.title: line for line in found.rows}


def shown(row: TableRow) -> list[str]:
    return [f"{cell.text.replace(chr(160), ' ')}{' best' if cell.is_best else ''}" for cell in row.cells]


def test_facts_come_from_the_files(run_copy, tiny_run):
    page = compared(run_copy("a", accuracy=0.5), run_copy("b", accuracy=0.75))
    assert page.labels == ("a", "b")
    assert page.warnings == ()
    facts = lines_of(page, "Accuracy and size")
    run, info = load(tiny_run), yaml.safe_load((tiny_run / "results" / "model_info.yaml").read_text())
    field = run.receptive_field()
    assert shown(facts["Test accuracy"]) == ["50.0 %", "75.0 % best"]
    assert shown(facts["Mean receptive field"]) == [f"{field.mean_percent:.1f} %"] * 2
    assert shown(facts["Largest receptive field"]) == [f"{field.max_percent:.1f} %"] * 2
    assert shown(facts["Prototypes"]) == ["6", "6"]
    assert shown(facts["Parameters"]) == [f"{info['total_parameters']:,}"] * 2
    assert shown(facts["Multiply-adds for one image"]) == [f"{info['macs'] / 1e6:.1f} million"] * 2
    described = lines_of(page, "Run")
    assert shown(described["Data"])[0] == "SYNTHBIRDS, 64×64, 3 classes, 4 test images each, seed 0"
    assert shown(described["Network"]) == ["small_resnet/layer2"] * 2
    assert shown(described["Distance, head"]) == ["cosine, linear"] * 2


def test_patches_that_see_the_whole_image_are_said_to(run_copy):
    shallow, deep = run_copy("shallow"), run_copy("deep")
    file = deep / "results" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["model"]["feature-layer"] = "avgpool"
    file.write_text(yaml.safe_dump(config))
    (note,) = (note for note in compared(shallow, deep).notes if "whole image" in note)
    assert note.startswith("deep: every patch sees the whole image.")


def test_the_best_is_marked_in_its_direction_and_never_for_noise(run_copy):
    title = METRICS["consistency"].quantities["hard"].title
    page = compared(
        run_copy(
            "a",
            agreement("consistency", 60, method="upsampling"),
            agreement("consistency", 20, method="random"),
            agreement("consistency", 70, method="receptive_field", seed=1),
        ),
        run_copy(
            "b",
            agreement("consistency", 61, method="upsampling"),
            agreement("consistency", 30, method="random"),
            agreement("consistency", 40, method="receptive_field"),
        ),
        run_copy("c", agreement("consistency", 61.01, method="upsampling")),
    )
    rows = lines_of(page, "Consistency")
    assert list(rows) == [
        f"{title}: receptive field, pixpnet-2023",
        f"{title}: upsampling, pixpnet-2023",
        f"{title}: random, pixpnet-2023",
    ]
    ours, upsampling, random = rows.values()
    assert shown(ours) == ["70.0 % best", "40.0 %", "–"], "seeds may differ"
    assert shown(upsampling) == ["60.0 %", "61.0 % best", "61.0 % best"], "what looks equal is equal"
    assert shown(random) == ["20.0 %", "30.0 %", "–"]
    assert ours.cells[0].interval.replace("\xa0", " ") == "69.8 to 70.2"
    assert any("c lacks maps of receptive field, random" in note for note in page.notes)
    assert any("--methods receptive_field,random" in note for note in page.notes)


def test_less_is_better_where_it_is(run_copy):
    page = compared(run_copy("a"), run_copy("b"))
    assert {line.better for line in lines_of(page, "Accuracy and size").values()} == {"high", "low", ""}
    small = lines_of(page, "Accuracy and size")["Parameters"]
    assert small.better == "low"
    assert not any(cell.is_best for cell in small.cells), "where all are the same none is best"
    path = run_copy("c")
    info = path / "results" / "model_info.yaml"
    info.write_text(re.sub(r"total_parameters: \d+", "total_parameters: 7", info.read_text()))
    first, second = lines_of(compared(Path(page.paths[0]), path), "Accuracy and size")["Parameters"].cells
    assert (first.is_best, second.is_best, second.text) == (False, True, "7")


def test_settings_that_differ_are_said_and_nothing_there_is_best(run_copy):
    page = compared(
        run_copy("a", ordering(0.5, method="upsampling", samples=50), ordering(0.9, method="prp")),
        run_copy("b", ordering(0.75, method="upsampling", samples=10), ordering(0.8, method="prp", seed=3)),
    )
    group = next(one for one in page.groups if "ordering" in one.title.lower())
    area, other = (line for line in group.rows if line.detail == "upsampling")
    assert shown(area) == ["0.500", "0.750"]
    assert shown(other) == ["0.500", "0.750"]
    assert other.title == "novelty", "a quantity that the table does not know goes by its own name"
    assert any("samples 50 (a), 10 (b)" in note for note in page.notes)
    assert any("seed 0 (a), 3 (b)" in note for note in page.notes)


def test_other_data_or_protocols_are_warned_of(run_copy):
    page = compared(
        run_copy("a", agreement("stability", 50, method="prp"), accuracy=0.9),
        run_copy(
            "b",
            agreement("stability", 60, method=None, protocol="eval-2023"),
            agreement("consistency", 60, method="prp"),
            accuracy=0.8,
            dataset={"test-images": 5},
        ),
        run_copy("c", agreement("consistency", 70, method="prp")),
    )
    data, protocols = page.warnings
    assert "4 test images each" in data
    assert "5 test images each" in data
    assert "a: pixpnet-2023; b: eval-2023, pixpnet-2023" in protocols
    assert not any(cell.is_best for cell in lines_of(page, "Accuracy and size")["Test accuracy"].cells)
    consistency = next(iter(lines_of(page, "Consistency").values()))
    assert shown(consistency) == ["–", "60.0 %", "70.0 %"]
    rows = lines_of(page, "Stability")
    assert [name.rpartition(": ")[2] for name in rows] == ["eval-2023", "PRP, pixpnet-2023"]
    assert [shown(row) for row in rows.values()] == [["–", "60.0 %", "–"], ["50.0 %", "–", "–"]]


def test_what_is_missing_says_how_to_get_it(run_copy):
    page = compared(run_copy("a", accuracy=None), run_copy("b", agreement("consistency", 1, method="prp")))
    notes = "\n".join(page.notes)
    assert f"a did not finish: `pixpnet train --resume {page.paths[0]}`" in notes
    assert f"`pixpnet evaluate {page.paths[0]}`" in notes
    assert re.search(r"b lacks [^:]*stability", notes)
    assert "b did not finish" not in notes
    assert shown(lines_of(page, "Accuracy and size")["Test accuracy"]) == ["–", "50.0 %"]
    assert shown(lines_of(page, "Stability")["not measured"]) == ["–", "–"]
    assert {one.title for one in page.groups} >= {metric.title for metric in METRICS.values()}


def test_metrics_of_another_checkpoint_are_told(run_copy):
    measured = agreement("consistency", 1, method="prp")
    page = compared(run_copy("a", measured, checkpoint="epoch=1-step=2.ckpt"), run_copy("b", measured))
    (odd,) = (note for note in page.notes if "epoch=1-step=2.ckpt" in note)
    assert odd.startswith("a: ")


def test_a_backbone_that_is_not_known_here_leaves_the_rest(run_copy):
    path = run_copy("a")
    config = path / "results" / "config.yaml"
    config.write_text(config.read_text().replace("small_resnet", "small_resmet"))
    page = compared(path, run_copy("b"))
    mean = lines_of(page, "Accuracy and size")["Mean receptive field"]
    assert (mean.cells[0].text, mean.cells[1].is_missing) == ("–", False)
    assert any(
        "a: its receptive field is not known: unknown backbone 'small_resmet'" in n for n in page.notes
    )


def test_labels_are_what_differs(run_copy, tmp_path):
    paths = [run_copy(name) for name in ("m/s1", "m/s2", "n/s1")]

    def labels(some: list[Path]) -> tuple[str, ...]:
        return tuple(run.label for run in read_runs(some))

    assert labels(paths) == ("m/s1", "m/s2", "n/s1")
    assert labels(paths[:2]) == ("s1", "s2")
    assert labels(paths[::2]) == ("m", "n")
    outer = shutil.copytree(paths[0], tmp_path / "a")
    inner = shutil.copytree(paths[0], outer / "b")
    assert labels([outer, inner]) == (str(outer), str(inner))


def test_what_is_no_comparison_is_refused(run_copy, tmp_path):
    path, other = run_copy("a"), run_copy("b")
    with pytest.raises(ConfigError, match="1 run to compare"):
        read_runs([path])
    with pytest.raises(ConfigError, match="is there twice"):
        read_runs([path, path.parent / "." / path.name])
    with pytest.raises(CheckpointError, match="is not a run directory"):
        read_runs([path, tmp_path])
    for text, words in (
        ("version: 0", "no evaluation of version 1"),
        ("version: 1\nmeasurements: [5]\n", "damaged"),
        ("version: 1\nmeasurements: 5\n", "damaged"),
        ("- 1", "should hold names and values"),
        ("a: [", "can't be read"),
    ):
        (path / "results" / "interpretability.yaml").write_text(text)
        with pytest.raises((CheckpointError, FileError), match=words) as caught:
            compared(path, other)
        assert str(path) in str(caught.value)


def test_markdown_is_a_table(run_copy):
    text = to_markdown(
        compared(
            run_copy("a|b", agreement("consistency", 60, method="prp")),
            run_copy("<b>", agreement("consistency", 50, method="prp"), dataset={"seed": 1}),
        )
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1, "padded"
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert rows[0].split() == ["|", "|", "a\\|b", "|", "\\<b>", "|"]
    assert text.count("> **Warning:**") == 1
    assert "60.0\xa0% [59.8 to 60.2]" in text
    assert "**50.0" not in text
    same = to_markdown(compared(run_copy("c", accuracy=0.25), run_copy("d", accuracy=1.0)))
    assert "**100.0\xa0%**" in same


def test_command_prints_and_writes(run_copy, tmp_path, capsys):
    runs = [str(run_copy(name, agreement("consistency", 9, method="prp"))) for name in ("a", "b")]
    assert main(["compare", *runs]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Comparison of 2 runs\n")
    for arguments, wanted in (
        (["--out", "x.md"], {"x.md"}),
        (["--out", "x.html"], {"x.html"}),
        (["--out", "page", "--format", "html"], {"page"}),
        (["--out", "both.html", "--format", "md,html"], {"both.md", "both.html"}),
    ):
        folder = tmp_path / "-".join(sorted(wanted))
        folder.mkdir()
        filled = [
            str(folder / part) if part in {"x.md", "x.html", "page", "both.html"} else part
            for part in arguments
        ]
        assert main(["compare", *runs, *filled]) == 0
        printed = capsys.readouterr().out
        assert {file.name for file in folder.iterdir()} == wanted
        assert printed.startswith(text)
        assert set(printed.removeprefix(text).split()) == {str(folder / name) for name in wanted}
        for file in folder.iterdir():
            assert file.read_text() == text or file.read_text().startswith("<!DOCTYPE html>")
            assert (file.suffix == ".md") == (file.read_text() == text)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{a}"], 2, "1 run to compare"),
        ([], 2, "RUN_DIR"),
        (["{a}", "{folder}"], 1, "is not a run directory"),
        (["{a}", "{b}", "--out", "{folder}"], 2, "is a folder"),
        (["{a}", "{b}", "--out", "{folder}/x.pdf"], 2, "ends in neither .md nor .html"),
        (["{a}", "{b}", "--format", "html"], 2, "needs a file"),
        (["{a}", "{b}", "--format", "htm"], 2, "'htm' is not one of md, html; did you mean html?"),
        (["{a}", "{b}", "--outs", "x"], 2, "unknown argument '--outs'; did you mean --out?"),
        (["{a}", "{b}", "--out", "/proc/no/x.md"], 1, "could not be written"),
    ],
)
def test_command_refuses(run_copy, tmp_path, capsys, arguments, code, words):
    a, b = run_copy("a"), run_copy("b")
    folder = tmp_path / "empty"
    folder.mkdir()
    assert main(["compare", *(part.format(a=a, b=b, folder=folder) for part in arguments)]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(folder.iterdir()) == []
