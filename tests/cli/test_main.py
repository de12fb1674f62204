"""The command as a whole: help, version, laziness, logging and exit codes."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from pixpnet import cli
from pixpnet.config import OPTIONS
from pixpnet.errors import CheckpointError, DataError
from pixpnet.log import LEVELS, start_logging

COMMANDS = (
    *("fit", "train", "demo", "configs", "predict", "explain", "verify", "evaluate", "report"),
    *("export", "prototypes", "serve", "compare", "rf", "goldilocks", "data"),
)


@pytest.fixture(autouse=True)
def _restored_logger() -> Iterator[None]:
    logger = logging.getLogger("pixpnet")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_names_every_command(pixpnet: Callable, arguments: list[str]) -> None:
    ended = pixpnet(*arguments)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.partition("commands:\n")[2].splitlines()
    assert tuple(line.split()[0] for line in lines if line.startswith("  ")) == COMMANDS


def test_version(pixpnet: Callable) -> None:
    assert pixpnet("--version") == (0, f"pixpnet {version('pixpnet')}\n", "")


@pytest.mark.parametrize("command", [*COMMANDS, "data synthbirds", "data list"])
def test_every_command_has_help(pixpnet: Callable, command: str) -> None:
    ended = pixpnet(*command.split(), "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"usage: pixpnet {command}")


def test_help_lists_every_option_with_its_default(pixpnet: Callable) -> None:
    for command in ("train", "demo"):
        out = pixpnet(command, "--help").out
        assert max(map(len, out.splitlines())) <= 104
        described = out.replace("\n        ", " ")
        for option in OPTIONS.values():
            names = f"--{option.name}, --{option.negative_name}" if option.is_flag else f"--{option.name} "
            (line,) = [line for line in described.splitlines() if line.startswith(f"  {names}")]
            assert "default: " in line, option.name
            assert option.help.split()[0].rstrip(".") in line
            assert all(choice in line for choice in option.choices)
        assert "  --model.pretrained, --model.no-pretrained Start the backbone" in described
        assert (
            "Number of epochs, those of the backbone stage included (≥ 1 and ≤ 100000; default: 50)"
            in described
        )
        assert "Kind of network (default: protonet)" in described
        assert "GPUs to use (≥ 0; default: one if there is one, else the CPU)" in described
        assert "--resume RUN_DIR" in out or command == "demo"


@pytest.mark.parametrize("line", ["--help", "--version", *(f"{name} --help" for name in COMMANDS)])
def test_help_does_not_wait_for_torch(line: str) -> None:
    code = (
        "import sys; from pixpnet.cli import main; main(sys.argv[1:]); "
        "sys.exit('torch' in sys.modules or 'jsonargparse' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *line.split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_installed_command_and_the_module_run() -> None:
    for command in ([sys.executable, "-m", "pixpnet"], [str(Path(sys.executable).with_name("pixpnet"))]):
        ended = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
        assert ended.stdout == f"pixpnet {version('pixpnet')}\n"


@pytest.mark.parametrize("error", [DataError("no\n  images"), CheckpointError("no\n  images")])
def test_failures_end_with_one_line_and_code_1(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pixpnet.explanation.explain_images", fail)
    assert pixpnet("explain", "run") == (1, "", "pixpnet: error: no images\n")


def test_other_errors_keep_their_traceback(pixpnet: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pixpnet.explanation.explain_images", fail)
    with pytest.raises(ZeroDivisionError):
        pixpnet("explain", "run")


@pytest.mark.parametrize("level", [*LEVELS, *map(str.lower, LEVELS)])
def test_log_level(capsys: pytest.CaptureFixture[str], level: str) -> None:
    start_logging({"PIXPNET_LOG_LEVEL": level})
    start_logging({"PIXPNET_LOG_LEVEL": level})
    for name in LEVELS:
        logging.getLogger("pixpnet.some.module").log(logging.getLevelName(name), "message %s", name)
    lines = capsys.readouterr().err.splitlines()
    expected = [f"{name} message {name}" for name in LEVELS[LEVELS.index(level.upper()) :]]
    assert [line.partition(" ")[2] for line in lines] == expected


@pytest.mark.parametrize("environment", [{}, {"PIXPNET_LOG_LEVEL": ""}])
def test_the_log_level_is_info_unless_set(environment: dict[str, str]) -> None:
    start_logging(environment)
    assert logging.getLogger("pixpnet").level == logging.INFO


def test_logs_are_rich_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    start_logging({})
    assert [type(handler).__name__ for handler in logging.getLogger("pixpnet").handlers] == ["RichHandler"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; from pixpnet.cli import main; sys.exit(main(['train', '--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait()
    process.stderr.close()


def test_main_is_the_entry_point() -> None:
    (script,) = entry_points(group="console_scripts", name="pixpnet")
    assert script.load() is cli.main


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (MemoryError(), ""),
        (MemoryError("Unable to allocate 57.6 GiB for an array with shape (3,)"), " for 61.8 GB at once"),
        (
            RuntimeError("can't allocate memory: you tried to allocate 40000000000 bytes."),
            " for 40 GB at once",
        ),
    ],
)
def test_too_little_memory_is_one_line(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch, error: Exception, size: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pixpnet.runs.load", fails)
    ended = pixpnet("verify", "run")
    assert ended.code == 1
    assert ended.err.startswith(f"pixpnet: error: there is not enough memory{size}; smaller batches")
    assert ended.err.count("\n") == 1
