"""``pixpnet predict``: rows of pictures, whatever happens to pictures or to the call."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from pixpnet.explanation import predict, write_predictions
from pixpnet.runs import find_calibration, load
from pixpnet.words import percent

COLUMNS = ["path", "class", "probability", "margin", "second_class", "unfamiliar", "error"]
EVIDENCE = ["prototype", "similarity", "contribution", "box", "input_box", "looks_like", "looks_like_box"]


@pytest.fixture(scope="module")
def run_dir(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, which gets a calibration."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("run") / "run"))
    find_calibration(load(folder))
    return folder


@pytest.fixture
def photos(birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures with names of the world, one of them torn, in the working directory."""
    monkeypatch.chdir(tmp_path)
    names = ["a.png", 'with "quotes", and\r\nlines.png', "über.png", "under/b.png", "under/deep/c.png"]
    pictures = sorted((birds / "images").rglob("*.png"))
    for name, picture in zip(names, pictures[::5], strict=False):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, tmp_path / "photos" / name)
    (tmp_path / "photos" / "torn.png").write_bytes(pictures[0].read_bytes()[:200])
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return Path("photos")


def expected_rows(run_dir: Path, files: list[Path], top_k: int) -> list[list[str]]:
    """What the Python object says, as text."""
    rows = []
    for one in predict(run_dir, files, top_k=top_k):
        row = [one.path, one.class_name, one.probability, one.margin, one.second_class, one.unfamiliar]
        row.append(one.error)
        for seen in one.evidence:
            assert seen.source is not None
            assert seen.box_in_picture is not None
            boxes = [
                " ".join(f"{edge:g}" for edge in box)
                for box in (seen.box_in_picture, seen.box, seen.source.box)
            ]
            row += [
                seen.prototype,
                seen.similarity,
                seen.contribution,
                *boxes[:2],
                seen.source.path,
                boxes[2],
            ]
        row += [None] * (7 + 7 * top_k - len(row))
        rows.append(["" if value is None else str(value) for value in row])
    return rows


def in_order(photos: Path) -> list[Path]:
    """The files of the folder, then those below, each by name."""
    names = ["a.png", "torn.png", 'with "quotes", and\r\nlines.png', "über.png"]
    return [photos / name for name in (*names, "under/b.png", "under/deep/c.png")]


def test_csv_says_what_the_python_object_says(pixpnet: Callable, run_dir: Path, photos: Path) -> None:
    ended = pixpnet("predict", run_dir, photos, "--top-k", "2")
    rows = list(csv.reader(io.StringIO(ended.out, newline="")))
    assert rows[0] == COLUMNS + [f"{name}_{place}" for place in (1, 2) for name in EVIDENCE]
    assert rows[1:] == expected_rows(run_dir, in_order(photos), 2)
    assert "torn.png is not an image that can be read" in rows[2][6]
    counted = "1 of 6 pictures could not be read; the column `error` of stdout says why."
    assert (ended.code, ended.err) == (0, f"pixpnet: {counted}\n")
    assert (
        pixpnet("predict", run_dir, photos, "--top-k", "2", "--out", "out/rows.CSV").out == "out/rows.CSV\n"
    )
    assert Path("out/rows.CSV").read_bytes() == ended.out.encode()
    assert pixpnet("predict", run_dir, photos, "--strict").code == 3
    assert pixpnet("predict", run_dir, photos / "a.png", "--strict").code == 0


def test_json_lines_hold_everything(pixpnet: Callable, run_dir: Path, photos: Path) -> None:
    assert pixpnet("predict", run_dir, photos, "--out", "rows.jsonl").code == 0
    found = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert found == [
        one.to_dict() | {"evidence": [e.to_dict() for e in one.evidence]}
        for one in predict(run_dir, in_order(photos))
    ]


def test_a_table_stays_as_it_was_where_the_run_turns_out_to_be_damaged(
    pixpnet: Callable, run_dir: Path, photos: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(run_dir, tmp_path / "damaged")
    assert pixpnet("predict", damaged, photos, "--out", "rows.csv").code == 0
    before = Path("rows.csv").read_bytes()
    (damaged / "results" / "calibration.json").write_text("[]")
    ended = pixpnet("predict", damaged, photos, "--out", "rows.csv")
    assert (ended.code, ended.out) == (1, "")
    assert Path("rows.csv").read_bytes() == before


def test_parquet(pixpnet: Callable, run_dir: Path, photos: Path) -> None:
    ended = pixpnet("predict", run_dir, photos, "--out", "rows.parquet")
    if find_spec("pyarrow") is None:
        message = "Parquet files need pyarrow: pip install 'pixpnet[parquet]', or write .csv or .jsonl."
        assert ended == (2, "", f"pixpnet: error: predict: {message}\n")
        return
    import pandas

    table = pandas.read_parquet("rows.parquet")
    pixpnet("predict", run_dir, photos, "--out", "rows.csv")
    pandas.testing.assert_frame_equal(table, pandas.read_csv("rows.csv"), check_dtype=False)
    assert str(table["prototype_1"].dtype) in ("int64", "float64")


def test_pictures_by_folder_pattern_and_stdin(
    pixpnet: Callable, run_dir: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = os.fsencode("photos/über.png\n\nphotos/gone.png\r\nphotos/a.png\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names)))
    ended = pixpnet("predict", run_dir, "photos/**/c.png", "-", photos / "under", "--top-k", "0")
    rows = list(csv.reader(io.StringIO(ended.out)))[1:]
    wanted = ["under/deep/c.png", "über.png", "gone.png", "a.png", "under/b.png"]
    assert [row[0] for row in rows] == [f"photos/{name}" for name in wanted]
    assert rows[2][6] == "photos/gone.png is missing; wanted an image."
    shutil.copy(photos / "a.png", photos / "[a]*.png")
    ended = pixpnet("predict", run_dir, "photos/[a]*.png", "--top-k", "0")
    assert [row.partition(",")[0] for row in ended.out.splitlines()[1:]] == ["photos/[a]*.png"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_killed_call_goes_on(pixpnet: Callable, run_dir: Path, photos: Path, ending: str) -> None:
    """Wherever the file was cut, it becomes what it would have been, byte for byte."""
    odd = os.fsdecode(b"photos/no utf-8 \xff.png")
    shutil.copy(photos / "a.png", odd)
    run, files, out = load(run_dir), [*in_order(photos), odd], Path(f"rows.{ending}")
    written = write_predictions(run, files, out=out, top_k=1, batch_size=1)
    assert written[:2] == (7, 1)
    whole = out.read_bytes()
    quoted = whole.index(b"and")
    cuts = {0, 1, 20, len(whole) - 1, len(whole), whole.index(b"\xff" if ending == "csv" else b"udcff")}
    cuts |= {quoted, quoted + 3, quoted + 4, quoted + 9}
    cuts |= {place + more for place, one in enumerate(whole) if one == ord("\n") for more in (0, 1, 2)}
    cuts |= set(range(7, len(whole), len(whole) // 11))
    for cut in sorted(cuts):
        out.write_bytes(whole[:cut])
        assert write_predictions(run, files, out=out, top_k=1, batch_size=1, resume=True)[:2] == (7, 1)
        assert out.read_bytes() == whole, cut
    out.unlink()
    line = ("predict", run_dir, *files, "--out", out, "--batch-size", "1", "--top-k", "1")
    assert pixpnet(*line, "--resume").code == 0
    assert out.read_bytes() == whole
    out.write_bytes(whole[:-9])
    assert pixpnet(*line).code == 0
    assert out.read_bytes() == whole


def test_what_is_there_is_not_read_again(run_dir: Path, photos: Path) -> None:
    write_predictions(run_dir, in_order(photos)[:3], out="rows.csv")
    before = Path("rows.csv").read_bytes()
    for path in in_order(photos)[:3]:
        path.unlink()
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int, doing: str = "", /) -> None:
        told.append((done, total))
        rows = list(csv.reader(io.StringIO(Path("rows.csv").read_text(), newline="")))
        assert len(rows) == 1 + done  # a call that is killed now has all of them

    written = write_predictions(run_dir, in_order(photos), out="rows.csv", resume=True, progress=progress)
    assert written[:2] == (6, 1)
    assert told == [(4, 6), (5, 6), (6, 6)]
    after = Path("rows.csv").read_bytes()
    assert after.startswith(before)
    rows = list(csv.reader(io.StringIO(after.decode(), newline="")))
    assert [row[0] for row in rows[1:]] == list(map(str, in_order(photos)))


def test_an_interrupted_call_says_how_to_go_on(
    pixpnet: Callable, run_dir: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pixpnet.explanation.write_predictions", interrupted)
    line = ("predict", run_dir, photos)
    goes_on = "pixpnet: interrupted: the same command with --resume goes on\n"
    assert pixpnet(*line, "--out", "rows.csv") == (130, "", goes_on)
    assert pixpnet(*line, "--out", "rows.parquet") == (130, "", "pixpnet: interrupted\n")
    assert pixpnet(*line) == (130, "", "pixpnet: interrupted\n")


def test_explanations_of_what_can_be_read(pixpnet: Callable, run_dir: Path, photos: Path) -> None:
    for path in in_order(photos)[3:]:
        path.unlink()
    pixpnet("predict", run_dir, photos / "a.png", "--out", "rows.csv")
    ended = pixpnet("predict", run_dir, photos, "--out", "rows.csv", "--resume", "--explain", "why")
    assert (ended.code, ended.out) == (0, "rows.csv\nwhy\n")
    assert sorted(path.name for path in Path("why").iterdir()) == [
        "a_explanation.png",
        'with "quotes", and__lines_explanation.png',
    ]


def test_the_least_certain_stand_on_a_page_also_those_of_a_resumed_call(
    pixpnet: Callable, run_dir: Path, photos: Path
) -> None:
    odd = Path(os.fsdecode(b"photos/no utf-8 \xff.png"))
    shutil.copy(photos / "a.png", odd)
    files = [*in_order(photos), odd]
    found = [one for one in predict(run_dir, files) if one.probability is not None and one.margin is not None]
    wanted = sorted(found, key=lambda one: one.probability)
    pixpnet("predict", run_dir, *files[:4], "--out", "rows.csv")
    ended = pixpnet("predict", run_dir, *files, "--out", "rows.csv", "--resume", "--review", "6")
    assert (ended.code, ended.out) == (0, "rows.csv\nrows.review.html\n")
    page = Path("rows.review.html").read_text("utf-8")
    assert f"The 6 of {len(files)} pictures" in page
    assert "Run</span> <code>run</code>" in page
    shown = [re.sub("<[^>]*>", " ", header) for header in re.findall("(?s)<header>\n<h4>.*?</header>", page)]
    assert len(shown) == len(wanted) == 6
    for one, told in zip(wanted, shown, strict=True):
        assert re.split(r"[^\w. ]", Path(one.path).name)[0] in told
        assert percent(one.probability) in told
        assert percent(one.probability - one.margin) in told
    assert "<figcaption>This picture</figcaption>" in page
    assert "right</span>" not in page


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (
            "RUN",
            2,
            "predict: the following arguments are required: PICTURE; wanted: pixpnet predict RUN_DIR PICTURE",
        ),
        ("photos photos", 1, "photos is not a run directory"),
        ("RUN gone.png", 1, "gone.png is missing; wanted a picture, a folder of them, or a pattern."),
        ("RUN *.gif", 1, "*.gif matches nothing; wanted a picture"),
        ("RUN empty", 1, "the folder empty holds no picture (AVIF, BMP,"),
        ("RUN photos --out rows.xls", 2, "the ending of --out='.xls' is none of .csv, .jsonl, .parquet"),
        ("RUN photos --out photos", 2, "predict: argument --out: photos is a folder"),
        ("RUN photos --review 3", 2, "predict: --review writes a page beside the file of --out: give one."),
        (
            "RUN photos --resume --out worded.csv",
            1,
            "worded.csv can't be resumed: the probability of its row",
        ),
        ("RUN photos --resume", 2, "predict: --resume needs the file to go on with: --out FILE."),
        ("RUN photos --resume --out a.parquet", 2, "predict: a.parquet can't be resumed: part of a Parquet"),
        ("RUN photos --resume --out three.csv", 2, "predict: three.csv has other columns than these; was"),
        ("RUN photos --resume --out mended.csv", 1, "mended.csv can't be resumed: its row 2 has other"),
        ("RUN photos --resume --out wrong.jsonl", 1, "wrong.jsonl can't be resumed: its line 1 is no"),
        ("RUN photos --top-k -1", 2, "predict: argument --top-k: '-1' is not a whole number ≥ 0"),
        ("RUN photos --topk 1", 2, "predict: unknown argument '--topk'; did you mean --top-k?"),
    ],
)
def test_mistakes_end_with_one_line(
    pixpnet: Callable, run_dir: Path, photos: Path, line: str, code: int, message: str
) -> None:
    Path("empty").mkdir()
    for name, top_k in (("three.csv", 3), ("mended.csv", 1)):
        pixpnet("predict", run_dir, photos / "a.png", "--out", name, "--top-k", top_k)
    Path("three.csv").write_text(Path("three.csv").read_text().replace("prototype_3", "prototype_4"))
    pixpnet("predict", run_dir, photos / "a.png", "--out", "mended.csv")
    whole = Path("mended.csv").read_text()
    Path("worded.csv").write_text(re.sub("0[.][0-9]+", "high", whole, count=1))
    Path("mended.csv").write_text(whole + "1,2,3\n")
    Path("wrong.jsonl").write_text('{"path": 1}\n')
    before = {path: path.read_bytes() for path in Path().glob("*.*") if path.is_file()}
    ended = pixpnet("predict", *(str(run_dir) if word == "RUN" else word for word in line.split()))
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(f"pixpnet: error: {message}")
    assert ended.err.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().glob("*.*") if path.is_file()} == before
