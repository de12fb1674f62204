"""Names of files and classes are shown as they are, in every place where they are shown, and break none."""

import io
import logging
import re
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from pixpnet.cli import any_encoding, main, print_table, progress_bar, say
from pixpnet.config import parse_config
from pixpnet.files import file_part, write_text
from pixpnet.fonts import drawable
from pixpnet.log import start_logging
from pixpnet.report import write_report
from pixpnet.training import Display, train
from pixpnet.words import visible

NAMES = {
    "closing tag": "a[/red]b",
    "tag": "[red]wren[/red]",
    "link": "[link=file:///x]wren",
    "emoji's name": ":smile: wren",
    "quotes": "\"wren\" 'x' `y`",
    "formula": "=cmd()|' /C calc'!A0",
    "html": "<script>alert(1)</script>&amp;",
    "new line": "two\nlines",
    "colour": "\x1b[31mred\x1b[0m",
    "title of the terminal": "\x1b]0;owned\x07",
    "bell, back, tab": "a\a\b\tb",
    "turned writing": "a\u202egnp.exe",
    "no Unicode": "caf\udce9",
    "separator": "a\u2028b",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_what_moves_a_terminal_is_made_visible(name):
    shown = visible(name)
    assert all(sign.isprintable() for sign in shown)
    assert visible(shown) == shown
    if name.isprintable():
        assert shown == name


def test_what_scripts_need_stays():
    for name in ("日本 鳥", "می‌خواهم", "क्‍ष", "café", "a\u3000b", "👩‍🔬"):
        assert visible(name) == name


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_way_to_the_terminal(name, capsys, monkeypatch):
    """Tables, lines, logs and progress, with a terminal that takes markup and colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=200, no_color=True)
    shown = visible(name)
    with any_encoding():
        Display(console, progress=True).line(f"run {name}")
        Display(console, progress=True).closing_table(name, {"run directory": name})
        print_table(name, ["name"], [[[name]]], right=[])
        say(name)
        say(name, error=True)
    text = stream.getvalue()
    assert text.count(shown) == 3
    out, err = capsys.readouterr()
    escaped = shown.encode("utf-8", "backslashreplace").decode()
    assert out.count(escaped) == 3
    assert err.count(escaped) == 1
    for raw in (text, out, err):
        assert "\x1b]" not in raw
        assert "\a" not in raw


def test_progress_shows_names_as_they_are(monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("a[/red]b", "\x1b]0;owned\x07"):
        with progress_bar("[reading]") as update:
            update(1, 2, name)
        assert visible(name) in stream.getvalue()
    assert "\x1b]0;" not in stream.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_logs_stay_on_one_line(monkeypatch, is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    start_logging({})
    try:
        logging.getLogger("pixpnet.data").warning("%s is left out", "two\nlines[/red]\x1b]0;owned\x07")
    finally:
        start_logging({})
    assert "two\\nlines[/red]\\x1b]0;owned\\x07" in re.sub("\x1b\\[[0-9;]*m", "", stream.getvalue())


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
@pytest.mark.parametrize(
    "arguments", [["rf", "small_resnet", "--size", "64"], ["data", "list"], ["--help"], ["nothing"]]
)
def test_any_encoding_takes_what_is_printed(monkeypatch, encoding, arguments):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(arguments) == (2 if arguments == ["nothing"] else 0)
    out.flush()
    assert out.errors == "strict"
    text = out.buffer.getvalue().decode(encoding)
    if arguments[0] == "rf":
        assert ("16x16" if encoding == "ascii" else "16×16") in text


def test_what_an_encoding_lacks_is_replaced(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    with any_encoding():
        say("16×16 − 日 café \udcff")
    out.flush()
    assert out.buffer.getvalue() == b"16x16 - \\u65e5 caf\\xe9 \\udcff\n"


def test_no_color(monkeypatch):
    from rich.console import Console

    colours = {}
    for value in ("1", ""):
        stream = io.StringIO()
        stream.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("NO_COLOR", value)
        monkeypatch.setenv("TERM", "xterm-256color")
        start_logging({})
        logging.getLogger("pixpnet").warning("wren")
        Display(Console(stderr=True), progress=True).line("wren")
        colours[value] = "\x1b[3" in stream.getvalue()
    start_logging({})
    assert colours == {"1": False, "": True}


# A whole run on a folder of such names

CLASSES = ("a[red]b", "two\nlines", '=cmd() "x"', 80 * "日" + "[b]", "\x1b[31m<i>wren</i>")


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A folder of classes with such names, in a folder of such a name."""
    root = tmp_path_factory.mktemp("strange") / "data [bold] [" / "red]"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 1)):
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
                image.save(folder / f"[red]{number}\n\x1b]0;owned\x07.png")
    return root


@pytest.fixture(scope="module")
def strange_run(strange, tiny_arguments, tmp_path_factory):
    arguments = tiny_arguments(
        tmp_path_factory.mktemp("logs") / "logs [" / "red]",
        **{"dataset.name": "folder", "dataset.root": strange, "dataset.size": 64, "model.num-prototypes": 5},
        **{
            "train.epochs": 1,
            "train.backbone-epochs": 0,
            "train.readout-push-epochs": 1,
            "dataset.val-size": 0,
        },
        **{"dataset.classes": None, "dataset.train-images": None, "dataset.test-images": None},
    )
    return train(parse_config(arguments), progress=True)


def test_check_of_such_a_folder(pixpnet, strange, tmp_path):
    ended = pixpnet("data", "check", "folder", "--root", strange, "--out", tmp_path / "sheet.png")
    assert ended.code == 0
    assert "data [bold] [/red]" in ended.out
    assert "\x1b" not in ended.out + ended.err
    assert Image.open(tmp_path / "sheet.png").width > 500


def test_training_explaining_and_reporting_such_a_folder(strange, strange_run, pixpnet, tmp_path, caplog):
    caplog.set_level("WARNING")
    image = next((strange / "test" / "two\nlines").iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ended = pixpnet(
            "explain", strange_run, image, "--atlas", "--format", "png,json", "--out", tmp_path / "out"
        )
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.err
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(written) == 2 * (1 + len(CLASSES))
    assert all(visible(name) == name and len(name.encode()) < 200 for name in written)
    assert len(ended.out.splitlines()) == len(written)
    assert len([record for record in caplog.records if "no installed font" in record.message]) <= 1
    page = write_report(strange_run, out=tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<i>wren" not in page
    assert "\x1b" not in page
    assert "a[red]b" in page


# File names that are written


def test_parts_of_file_names():
    assert file_part("Blue Wren") == "Blue Wren"
    assert file_part("a/b\\c\x1b") == "a_b_c_"
    long, other = file_part(300 * "日"), file_part(299 * "日" + "本")
    assert long != other
    assert max(len(long.encode()), len(other.encode())) <= 80


@pytest.mark.parametrize("length", [200, 250, 255])
def test_files_of_the_longest_names_are_written(tmp_path, length):
    path = tmp_path / ("x" * (length - 4) + ".txt")
    write_text(path, "whole")
    assert path.read_text() == "whole"


# Fonts


def test_fonts_of_names(caplog):
    assert drawable("Blue Wren, Zaunkönig, αβγ, жук") == ("Blue Wren, Zaunkönig, αβγ, жук", ("DejaVu Sans",))
    assert drawable("two\nlines\x1b").text == "two\nlines\\x1b"


def test_signs_that_no_font_has_are_told_once_and_those_that_one_has_are_drawn(monkeypatch, caplog):
    from matplotlib import font_manager

    from pixpnet import fonts

    fonts._tell.cache_clear()
    fonts._installed.cache_clear()
    kept = [font for font in font_manager.fontManager.ttflist if font.name.startswith(("DejaVu", "cm"))]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", kept)
    try:
        caplog.set_level("WARNING")
        assert "\N{REPLACEMENT CHARACTER}" in drawable("日本 鳥 とり 새").text
        drawable("日本")
        assert [record.message.count("East Asian") for record in caplog.records] == [1]
        caplog.clear()
        drawable("\N{BIRD}\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}\N{TURTLE}")
        assert [record.message.count("some emoji signs") for record in caplog.records] == [1]
        # cmr10 has no letters of Europe's scripts beyond ASCII, but a sign that DejaVu Sans lacks, if any.
        assert drawable("wren").fonts == ("DejaVu Sans",)
    finally:
        fonts._installed.cache_clear()
