"""A thousand inputs that can't be used, made by rules: each ends with one line, soon, and in little memory.

The rules go over what there is: the options of a configuration, the files of a run and of a data set, and
all that reads a file. Where an input is fine after all (a number that may be as large), training begins, and
is stopped at its first step.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pixpnet.cli import main
from pixpnet.config import OPTIONS, SECTIONS, Option
from pixpnet.errors import PixPNetError
from pixpnet.evaluation import EvaluationFiles
from pixpnet.report import read_charts, read_runs
from pixpnet.runs import Run, RunDirectory, calibrate, find_calibration, load

SET = ["--classes", "3", "--size", "64", "--train-images", "10", "--test-images", "4"]

SECONDS, BYTES = 10, 2 * 2**30
"""What a command may take at most, in processor time: others on the machine take no part of it."""
WAITING = 120
"""Seconds by the clock: what waits, for a pipe say, has no end."""


class Began(BaseException):
    """Training began."""


class Hung(BaseException):
    """Nothing happened for too long."""


@contextmanager
def bounded() -> Iterator[None]:
    """Stop training at its first step and what takes too long, and refuse memory to what takes too much."""

    def hung(*_: object) -> None:
        raise Hung

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    former, most = resource.getrlimit(resource.RLIMIT_AS)
    handlers = {number: signal.signal(number, hung) for number in (signal.SIGALRM, signal.SIGPROF)}
    hook = register_optimizer_step_pre_hook(_begin)
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, most))
    signal.setitimer(signal.ITIMER_REAL, WAITING)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (former, most))
        for number, handler in handlers.items():
            signal.signal(number, handler)
        hook.remove()


def _begin(*_: object, **__: object) -> None:
    raise Began


Fault = Callable[..., str | None]


@pytest.fixture
def fault(pixpnet: Callable) -> Fault:
    """What is wrong with how a command ends; None: nothing is."""

    def fault(*arguments: object, names: str = "", may_work: bool = False) -> str | None:
        """
        Args:
            names: What the line has to name; any of several, with bars between.
            may_work: Whether the input may be fine after all.
        """
        try:
            with bounded():
                ended = pixpnet(*arguments)
        except Began:
            return None if may_work else "training began"
        except (Exception, Hung) as error:
            return f"{type(error).__name__}: {str(error)[:300]}"
        if ended.code == 0:
            return None if may_work else f"it ended well: {ended.out[:300]}"
        *_, last = ended.err.splitlines() or [""]
        if ended.code not in (1, 2) or not last.startswith("pixpnet: error: ") or "Traceback" in ended.err:
            return f"exit code {ended.code}: {ended.err[-300:]!r}"
        if "not enough memory" in last or not any(name in last for name in names.split("|")):
            return f"a line that does not help: {last[:300]!r}"
        return None

    return fault


def _of(found: dict[str, str | None]) -> dict[str, str]:
    return {what: fault for what, fault in found.items() if fault is not None}


TEXTS = {
    "a word": "three",
    "a list": "[1, x]",
    "a mapping": "{a: 1}",
    "null": "null",
    "nothing": "",
    "nan": "nan",
    "-inf": "-.inf",
    "beyond all floats": "1e999",
    "the largest float": "1e308",
    "beyond int64": "1" + 30 * "0",
    "below 0": "-1",
    "endless digits": 5000 * "9",
    "a long name": 300 * "a",
    "controls": "Vögel🐦\u202e\x1b[31m\n",
    "no UTF-8": "a\udcffb",
}
"""Values of options on the command line; most of them fit no option."""


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_values_of_options(
    option: Option,
    fault: Fault,
    pixpnet: Callable,
    tiny_arguments: Callable,
    birds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {"dataset.name": "folder", "dataset.root": birds / "images", "log-dir": tmp_path / "logs"}
    folders |= {"dataset.name": "csv"} if option.help.startswith("CSV") else {}
    options = folders | {option.name: None, option.negative_name: None}
    arguments = tiny_arguments("", **options)
    found = {}
    for kind, text in TEXTS.items():
        given = f"--{option.name}={text}"
        required = ("--model.name=protonet", "--model.feature-extractor=small_resnet")
        with pytest.MonkeyPatch.context() as patch:  # to see sooner whether there is something to begin
            patch.setattr("pixpnet.training.train", _begin)
            found[kind] = fault("train", *required, given, names=f"{option.name}|too long")
        if found[kind] == "training began":
            found[kind] = fault("train", *arguments, given, may_work=True)
    assert _of(found) == {}


NODES = {
    "a list": "[1, [2], x]",
    "a mapping": "{a: 1}",
    "a day": "2026-01-01",
    "code": "!!python/object/apply:os.getcwd []",
    "bytes": "!!binary AAAA",
    "controls": '"a\\0b\\e[31m\\u202E"',
}
"""Values of options in a file."""


@pytest.mark.parametrize("kind", NODES)
def test_values_in_files(kind: str, fault: Fault, tmp_path: Path) -> None:
    found = {}
    for name, option in OPTIONS.items():
        key = name.rpartition(".")[2]
        text = f"{key}: {NODES[kind]}"
        (tmp_path / "bad.yaml").write_text(f"{option.section}: {{{text}}}" if option.section else text)
        # Where a value will do, what is required is missing, or is no backbone.
        expected = "bad.yaml:1|is required|unknown backbone"
        found[name] = fault("train", "-c", tmp_path / "bad.yaml", names=expected)
    assert _of(found) == {}


def test_structures_of_files(fault: Fault, tmp_path: Path) -> None:
    levels = "".join(f"a{one + 1}: &a{one + 1} [{', '.join(9 * [f'*a{one}'])}]\n" for one in range(9))
    texts = {
        "a bomb": f"a0: &a0 [x]\n{levels}",
        "a circle": "dataset: &a\n  root: *a\n",
        "merged": "dataset: &a {size: 3}\nmodel: {<<: *a}\n",
        "nested": 3000 * "{a: ",
        "keys": "".join(f"option{number}: 1\n" for number in range(2000)),
        "documents": "seed: 1\n---\nseed: 2\n",
        "directive": "%YAML 9.9\n---\nseed: 1\n",
    } | {f"section {name} {wrong}": f"{name}: {wrong}\n" for name in SECTIONS for wrong in ("7", "[a]", "''")}
    found = {}
    for what, text in texts.items():
        (tmp_path / "bad.yaml").write_text(text)
        found[what] = fault("train", "-c", tmp_path / "bad.yaml", names="bad.yaml")
    assert _of(found) == {}


Damage = Callable[[Path], object]
"""Does something to a file."""


def _with_bytes(content: bytes) -> Damage:
    def write(path: Path) -> None:
        path.unlink()
        path.write_bytes(content)

    return write


def _in_place(make: Callable[[Path], object]) -> Damage:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def _endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


SPECIAL: dict[str, Damage] = {
    "a pipe": _in_place(os.mkfifo),
    "a device": _in_place(lambda path: path.symlink_to("/dev/zero")),
    "a folder": _in_place(Path.mkdir),
    "a circle of links": _in_place(lambda path: path.symlink_to(path)),
    "a link to nothing": _in_place(lambda path: path.symlink_to(path.with_name("nothing"))),
    "of 1 TB": _in_place(_endless),
}
"""What may lie where a file should."""

FOREIGN: dict[str, Damage] = {
    "empty": _with_bytes(b""),
    "zeros": _with_bytes(bytes(1000)),
    "no UTF-8": _with_bytes(b"a: \xff\xfe\n"),
    "a picture": _with_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
    "a list": _with_bytes(b"[1, 2, 3]"),
    "a number": _with_bytes(b"7\n"),
    "nested": _with_bytes(5000 * b"["),
}
"""Content of no file that we read."""


def _cut(path: Path, share: float) -> None:
    _with_bytes(path.read_bytes()[: int(share * path.stat().st_size)])(path)


TRUNCATED: dict[str, Damage] = {
    f"the first {share:.0%}": partial(_cut, share=share) for share in (0.1, 0.5, 0.9)
}

READERS: dict[str, Callable[[Run, Path], object]] = {
    "results/config.yaml": lambda run, other: read_runs([run.checkpoint.parents[3], other]),
    "results/scores.yaml": lambda run, other: read_runs([run.checkpoint.parents[3], other]),
    "results/model_info.yaml": lambda run, other: read_runs([run.checkpoint.parents[3], other]),
    "results/best_model_path.txt": lambda run, other: load(run.checkpoint.parents[3]),
    "results/interpretability.yaml": lambda run, _: EvaluationFiles.of_checkpoint(run.checkpoint).read(),
    "results/interpretability_curves.csv": lambda run, _: EvaluationFiles.of_checkpoint(
        run.checkpoint
    ).read(),
    "results/calibration.json": lambda run, _: find_calibration(run),
    "results/images.json": lambda run, _: calibrate(run),
    "csv/version_0/metrics.csv": lambda run, _: read_charts(
        RunDirectory(run.checkpoint.parents[3]).metrics_file, run.config
    ),
    "THUMBNAIL": lambda run, _: run.source_image(run.sources[0]),
    "CHECKPOINT": lambda run, _: load(run.checkpoint),
}
"""File of a run -> what reads it in the run, or beside another one."""
BINARY = ("THUMBNAIL", "CHECKPOINT")


@pytest.fixture(scope="module")
def finished(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all files that commands leave in it; treat it as read-only."""
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("finished") / "run"))
    measured = ("--metrics", "sparsity,relevance-ordering", "--methods", "receptive_field")
    assert main(["evaluate", str(run), *measured, "--samples", "2", "--steps", "4"]) == 0
    calibrate(load(run))
    return run


@pytest.fixture(scope="module")
def loaded(finished: Path) -> Run:
    """The same run."""
    return load(finished)


@pytest.fixture
def damaged(finished: Path, loaded: Run, tmp_path: Path) -> Callable[..., str | None]:
    """What is wrong with how a file's reader ends after something was done to the file."""

    def damaged(file: str, damage: Damage, *, may_work: bool) -> str | None:
        folder = Path(shutil.copytree(finished, tmp_path / "run", copy_function=os.link))
        run = replace(loaded, checkpoint=folder / loaded.checkpoint.relative_to(finished))
        thumbnail = RunDirectory(folder).thumbnail_file(loaded.sources[0])
        place = {"CHECKPOINT": run.checkpoint, "THUMBNAIL": thumbnail}.get(file, folder / file)
        damage(place)
        try:
            with bounded():
                READERS[file](run, finished)
            found = None if may_work else "it was taken"
        except PixPNetError as error:
            found = None if place.name in str(error) else f"a line that does not help: {error}"
        except (Exception, Hung) as error:
            found = f"{type(error).__name__}: {str(error)[:300]}"
        shutil.rmtree(folder)
        return found

    return damaged


@pytest.mark.parametrize("file", READERS)
def test_files_of_a_run(file: str, damaged: Callable[..., str | None], finished: Path) -> None:
    others = {f"{name} in its place": finished / name for name in READERS if name not in (file, *BINARY)}
    foreign = FOREIGN | {name: _with_bytes(path.read_bytes()) for name, path in others.items()}
    if file == "results/scores.yaml":  # both of them hold some numbers
        del foreign["results/model_info.yaml in its place"]
    if file == "results/model_info.yaml":
        del foreign["results/scores.yaml in its place"]
    found = {what: damaged(file, damage, may_work=False) for what, damage in (SPECIAL | foreign).items()}
    is_needed = file in ("results/config.yaml", "CHECKPOINT")
    found["missing"] = damaged(file, Path.unlink, may_work=not is_needed)
    # What is left of a text may be a text.
    found |= {what: damaged(file, cut, may_work=file not in BINARY) for what, cut in TRUNCATED.items()}
    assert _of(found) == {}


def _edited(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Copies of plain values, in each of which one value is of another kind, said of it."""
    wrong: list[Any] = [[], {}, math.nan, True] if isinstance(value, str | int | float) else [7]
    wrong = [other for other in wrong if type(other) is not type(value)] if place else []
    yield from ((f"{place} is {other!r}", other) for other in wrong)
    if isinstance(value, dict):
        for key in list(value)[:8]:
            yield from ((said, {**value, key: new}) for said, new in _edited(value[key], f"{place}.{key}"))
    if isinstance(value, list) and value:
        first = _edited(value[0], f"{place}[0]")
        yield from ((said, [new, *value[1:]]) for said, new in first)


@pytest.mark.parametrize("file", [name for name in READERS if name.endswith((".yaml", ".json"))][1:])
def test_fields_of_files_of_a_run(file: str, damaged: Callable[..., str | None], finished: Path) -> None:
    """Of all but the configuration, whose options other tests try."""
    text = (finished / file).read_text()
    is_json = file.endswith(".json")
    values = json.loads(text) if is_json else yaml.safe_load(text)
    found = {}
    for what, changed in _edited(values):
        content = json.dumps(changed) if is_json else yaml.safe_dump(changed, sort_keys=False)
        found[what] = damaged(file, _with_bytes(content.encode()), may_work=False)
    assert len(found) > 10
    assert _of(found) == {}


PLACES = {
    "train -c PATH": ".yaml",
    "train BEGIN --model.weights PATH": ".pt",
    "train BEGIN --model.weights=PATH": ".safetensors",
    "train BEGIN --dataset.name csv --dataset.root FOLDER --dataset.table PATH": ".csv",
    "train --from PATH": "",
    "train --resume PATH": "",
    "predict PATH IMAGE": ".ckpt",
    "predict RUN IMAGE --resume --out PATH": ".csv",
    "predict RUN IMAGE --resume --out=PATH": ".jsonl",
    "explain RUN PATH": ".png",
    "evaluate PATH": ".ckpt",
    "verify PATH": ".ckpt",
    "compare PATH RUN": "",
    "report PATH": "",
    "goldilocks --models small_resnet --model.no-pretrained SET --out PATH": ".csv",
}
"""Command that reads a file -> the file's suffix."""

NAMES: dict[str, Callable[[Path], Path]] = {
    "missing": lambda path: path,
    "no UTF-8": lambda path: path.with_name(f"\udcff{path.name}"),
    "controls": lambda path: path.with_name(f"\x1b[31m\u202e{path.name}"),
    "too long": lambda path: path.with_name(f"{250 * 'a'}{path.name}"),
    "below a file": lambda path: Path(__file__, path.name),
}
"""Files that are not there, by what their names are."""


@pytest.mark.parametrize("line", PLACES)
def test_what_reads_a_file(
    line: str, fault: Fault, finished: Path, birds: Path, tiny_arguments: Callable, tmp_path: Path
) -> None:
    place, found = tmp_path / "place", {}
    place.mkdir()
    image = load(finished).image_set.test[0].path
    words = {"BEGIN": tiny_arguments(tmp_path), "RUN": [finished], "IMAGE": [image], "FOLDER": [place]}
    words["SET"] = [word.replace("--", "--dataset.") for word in ("--root", str(birds), *SET)]

    def ended(path: Path) -> str | None:
        split = (words.get(word, [word.replace("PATH", str(path))]) for word in line.split())
        arguments = [word for part in split for word in part]
        return fault(*arguments, names="file|too long|UTF-8|no such|is required")

    path, is_written = place / f"file{PLACES[line]}", "--out" in line
    for what, damage in (SPECIAL | FOREIGN).items():
        path.touch()
        damage(path)
        if not (is_written and what in ("empty", "a link to nothing")):  # where one can write
            found[what] = ended(path)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    if not is_written:
        found |= {what: ended(name(path)) for what, name in NAMES.items()}
    assert _of(found) == {}


@pytest.fixture(scope="module")
def tables(birds: Path) -> tuple[Path, ...]:
    """The files of texts in a set."""
    return tuple(path.relative_to(birds) for path in birds.rglob("*") if path.suffix in (".txt", ".json"))


@pytest.mark.parametrize("damage", [*SPECIAL, *FOREIGN, "the first 50%"])
def test_files_of_a_data_set(
    damage: str, fault: Fault, birds: Path, tables: tuple[Path, ...], tmp_path: Path
) -> None:
    found = {}
    for table in tables:
        copy = Path(shutil.copytree(birds, tmp_path / "set", copy_function=os.link))
        (SPECIAL | FOREIGN | TRUNCATED)[damage](copy / table)
        out = ("--root", copy, "--out", tmp_path / "sheet.png")
        found[str(table)] = fault("data", "check", "synthbirds", *SET, *out, names=table.name)
        shutil.rmtree(copy)
    assert len(found) == 8
    assert _of(found) == {}
