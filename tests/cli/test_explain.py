"""``pixpnet explain``: what it hands on, what it prints, and how mistakes end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pixpnet.explanation import FORMATS
from pixpnet.pixel_space import MAPPINGS

DEFAULTS = {
    "top_k": 5,
    "by": "contribution",
    "method": "receptive_field",
    "against": None,
    "on": "input",
    "dpi": None,
    "formats": ("png",),
    "atlas": False,
    "out": None,
    "dataset_root": None,
}


@pytest.mark.parametrize(
    ("line", "images", "changed"),
    [
        ("", [], {}),
        ("a.png b.png --top-k 3 --out there", ["a.png", "b.png"], {"top_k": 3, "out": Path("there")}),
        ("--top-k 2 a.png --class 3 b.png", ["a.png", "b.png"], {"top_k": 2, "against": "3"}),
        ("--class 3 --by similarity", [], {"against": "3", "by": "similarity"}),
        ("a.png --atlas --method prp", ["a.png"], {"atlas": True, "method": "prp"}),
        ("photos --on original", ["photos"], {"on": "original"}),
        ("a.png --dataset-root data", ["a.png"], {"dataset_root": Path("data")}),
        ("--format pdf,JSON,pdf", [], {"formats": ("pdf", "json")}),
        ("--dpi 300", [], {"dpi": 300}),
    ],
)
def test_explain_hands_on_its_arguments(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch, line: str, images: list[str], changed: dict
) -> None:
    asked: list[object] = []

    def explain_images(*, run_dir: Path, images: list[str], **options: object) -> list[Path]:
        asked.append((run_dir, images, options))
        return [Path("one.png"), Path("two.png")]

    monkeypatch.setattr("pixpnet.explanation.explain_images", explain_images)
    assert pixpnet("explain", "run", *line.split()) == (0, "one.png\ntwo.png\n", "")
    assert asked == [(Path("run"), images, DEFAULTS | changed)]


def test_help_names_every_choice(pixpnet: Callable) -> None:
    out = pixpnet("explain", "--help").out
    assert all(name in out for name in (*MAPPINGS, *FORMATS, "contribution", "similarity"))


def test_explain_writes_and_prints(pixpnet: Callable, tiny_run: Path, birds: Path, tmp_path: Path) -> None:
    image = next((birds / "images").rglob("*.png"))
    ended = pixpnet("explain", tiny_run, image, "--format", "json", "--out", tmp_path)
    assert ended == (0, f"{tmp_path / image.stem}_explanation.json\n", "")
    assert (tmp_path / f"{image.stem}_explanation.json").is_file()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (
            "RUN IMAGE --class 002.Soty_bellied_Violet_Siskin",
            2,
            "'002.Soty_bellied_Violet_Siskin' is not one of the classes; nearest: 002.Sooty_bellied_Violet",
        ),
        ("RUN IMAGE --class 3", 2, "there is no class 3; the classes are 0 to 2."),
        ("RUN IMAGE --format gif", 2, "format='gif' is none of png, pdf, json"),
        ("RUN IMAGE --dpi 5000", 2, "dpi=5000 should be 20 to 600."),
        ("RUN IMAGE --format ,", 2, "no format was chosen; give one or more of png, pdf, json."),
        ("RUN IMAGE --method upsampled", 2, "method='upsampled' is none of receptive_field, upsampling"),
        ("RUN IMAGE --by weight", 2, "by='weight' is none of contribution, similarity"),
        ("RUN IMAGE --clas 3", 2, "explain: unknown argument '--clas'; did you mean --class?"),
        ("RUN none.png", 1, "none.png is missing; wanted a picture, a folder of them, or a pattern."),
        ("RUN IMAGE --on photo", 2, "on='photo' is none of input, original"),
        ("RUN TEXT", 1, "TEXT is not an image that can be read:"),
        ("RUN EMPTY", 1, "the folder EMPTY holds no picture"),
        ("FOLDER IMAGE", 1, "FOLDER is not a run directory"),
    ],
)
def test_mistakes_end_with_one_line(
    pixpnet: Callable, tiny_run: Path, birds: Path, tmp_path: Path, line: str, code: int, message: str
) -> None:
    (tmp_path / "text.png").write_text("no image")
    image = next((birds / "images").rglob("*.png"))
    places = {"RUN": tiny_run, "IMAGE": image, "TEXT": tmp_path / "text.png", "FOLDER": tmp_path}
    places["EMPTY"] = tiny_run / "csv"
    out = tmp_path / "out"
    ended = pixpnet("explain", *(places.get(word, word) for word in line.split()), "--out", out)
    message = " ".join(str(places.get(word, word)) for word in message.split(" "))
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(f"pixpnet: error: {message}")
    assert ended.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_a_file_is_no_folder_to_write_to(
    pixpnet: Callable, tiny_run: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").touch()
    ended = pixpnet("explain", tiny_run, "--out", f"{tmp_path}/file{below}")
    message = f"explain: argument --out: {tmp_path}/file is a file; give a folder"
    assert ended == (2, "", f"pixpnet: error: {message}\n")
