"""Kills commands at random moments, lets them go on, and compares the end with that of an undisturbed call.

Usage: python benchmarks/soak.py [--minutes 30] [--seed 0] [--lanes 2] [--keep DIR]      (or `make soak`)

Every command runs as users run it, in processes of one thread, on data that is made here. SIGKILL, SIGTERM
and SIGINT come once or twice, most of them after the command has begun to write; then the same command, or
`--resume`, goes on. Where two are started at once, one may refuse with one line, and the files must be whole.
The exit code is 1 if any file differs, is left over or any command ends otherwise than it should.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pixpnet.runs import RunDirectory, load_checkpoint

SIGNALS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
"""Signal -> how a command ends with it."""
_COMPLETE = "is complete: there is nothing to resume"
LONGEST = 300.0
"""Seconds: what takes longer hangs."""
TINY = {
    "dataset.classes": 3,
    "dataset.size": 64,
    "dataset.train-images": 10,
    "dataset.test-images": 4,
    "dataset.workers": 0,
    "model.no-pretrained": "true",
}
SMALL_RUN = TINY | {
    "seed": 7,
    "model.name": "protonet",
    "model.feature-extractor": "small_resnet",
    "model.feature-layer": "layer2",
    "model.num-prototypes": 6,
    "model.prototype-dim": 8,
    "model.distance": "cosine",
    "train.epochs": 12,
    "train.backbone-epochs": 2,
    "train.batch-size": 8,
    "train.push-every": 3,
    "train.readout-push-epochs": 2,
    "train.checkpoint": "true",
    "optimizer.name": "adam",
    "optimizer.lr": 3e-3,
    "optimizer.warmup-period": 1,
}
CODE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # the background of a shell ignores it
from pixpnet.cli import main
sys.exit(main(sys.argv[1:]))
"""
_TIMES = ("seconds", "train_time_total", "train_time_per_epoch", "inference_time_per_sample")
_TIMES += ("inference_time_per_batch",)
"""What two calls may measure otherwise."""


def _options(values: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


@dataclass(frozen=True)
class Base:
    """What commands read; nobody writes to it."""

    folder: Path

    @property
    def birds(self) -> Path:
        return self.folder / "birds"

    @property
    def run(self) -> Path:
        return RunDirectory.newest(self.folder / "logs").path


@dataclass(frozen=True)
class Command:
    """One of the commands that are killed."""

    arguments: Callable[[Base, Path], list[str]]
    """In a place of its own, which holds a copy of the run as run/ where it is one of a run."""
    of_run: bool = False
    waits: bool = False
    """Whether a second one waits for the first, and finds all done."""


def _train(base: Base, place: Path) -> list[str]:
    """Resumes the newest run that can be; else begins one."""
    started = sorted(RunDirectory(path.parents[1]).path for path in place.rglob("results/config.yaml"))
    resumable = [path for path in started if RunDirectory(path).checkpoint_files()]
    if resumable:
        return ["train", "--resume", str(resumable[-1])]
    return ["train", f"--dataset.root={base.birds}", f"--log-dir={place / 'logs'}", *_options(SMALL_RUN)]


METRICS = "sparsity,consistency,stability,relevance-ordering"
COMMANDS = {
    "train": Command(_train),
    "evaluate": Command(
        lambda _, place: [
            *("evaluate", str(place / "run"), "--metrics", METRICS),
            *("--methods", "receptive_field,upsampling", "--samples", "4", "--steps", "8"),
        ],
        of_run=True,
    ),
    "report": Command(lambda _, place: ["report", str(place / "run"), "--images", "2"], of_run=True),
    "verify": Command(lambda _, place: ["verify", str(place / "run"), "--trials", "200"], of_run=True),
    "goldilocks": Command(
        lambda base, place: [
            *("goldilocks", "--models", "small_resnet", "--out", str(place / "g" / "table.csv")),
            *_options(TINY | {"dataset.root": base.birds}),
        ]
    ),
    "predict": Command(
        lambda base, place: [
            *("predict", str(place / "run"), str(base.birds / "images"), "--batch-size", "1"),
            *("--resume", "--out", str(place / "out" / "table.csv")),
        ],
        of_run=True,
    ),
    "synthbirds": Command(
        lambda _, place: [
            *("data", "synthbirds", "--out", str(place / "birds"), "--classes", "20", "--size", "64"),
            *("--train-images", "8", "--test-images", "2"),
        ],
        waits=True,
    ),
}


@dataclass
class Tally:
    """What came of a command."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    in_pairs: int = 0
    refused: int = 0
    differences: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    wrong_ends: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [*self.differences, *self.left_over, *self.wrong_ends]


class Place:
    """Where a command is tried again and again, always under the same path, as files hold it."""

    def __init__(self, name: str, base: Base, folder: Path) -> None:
        self.name, self.command, self.base, self.folder = name, COMMANDS[name], base, folder
        self.tally = Tally()
        self.begins, self.ends = 0.0, 0.0
        self.wanted: dict[str, object] = {}

    def learn(self) -> None:
        """Run undisturbed, and remember what came of it and how long it took."""
        self._clean()
        before, start = self._files(), time.monotonic()
        process = self._start()
        while process.poll() is None:
            if not self.begins and self._files() != before:
                self.begins = time.monotonic() - start
            time.sleep(0.02)
        self.ends = time.monotonic() - start
        _, told = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.name} ended with {process.returncode}: {told[-500:]}")
        self.wanted = self._outcome()

    def disturb(self, draw: random.Random) -> None:
        """Kill once or twice, go on, compare."""
        self._clean()
        self.tally.rounds += 1
        used = []
        for _ in range(draw.choice((1, 1, 2))):
            number = draw.choice(list(SIGNALS))
            begins = self.begins if draw.random() < 0.8 else 0.1  # else perhaps while it is loading
            process, moment = self._start(), draw.uniform(begins, self.ends)
            code, told = self._end(process, after=moment, number=number)
            if code == 0:
                break
            used.append(f"{number.name} after {moment:.2f} s")
            self.tally.kills[number.name] += 1
            self._check_end(code, told, number, what=used[-1], may_be_deaf=moment < self.begins)
        what = " and ".join(used) or "nothing"
        is_complete = self._is_complete()  # killed on its last steps; the next call clears up behind it
        code, told = self._end(self._start())
        if code != is_complete or (is_complete and _COMPLETE not in told):
            self._wrong(f"after {what} did not go on", code, told)
        self._compare(what, is_swept=signal.SIGKILL.name not in what)

    def pair(self) -> None:
        """Two at once: one refuses with a line, or they come one after the other."""
        self._clean()
        if self.name == "train":  # the two of them go on with one run
            self._end(self._start(), after=(self.begins + self.ends) / 2, number=signal.SIGKILL)
            if self._is_complete() or "--resume" not in self._arguments():
                return
        self.tally.in_pairs += 1
        both = [self._start(), self._start()]
        ended = [self._end(process) for process in both]
        codes = sorted(code for code, _ in ended)
        for code, told in ended:
            lines = told.strip().splitlines()
            refusals = ("is being written to by process", _COMPLETE)
            if code == 1 and lines and any(refusal in lines[-1] for refusal in refusals):
                self.tally.refused += 1
            elif code:
                self._wrong("beside another one", code, told)
        if codes[0] != 0 or (self.command.waits and codes != [0, 0]):
            self.tally.wrong_ends.append(f"two {self.name} ended with {codes}")
        self._compare("two at once", is_swept=True)

    def _clean(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "tmp").mkdir(parents=True)
        if self.command.of_run:
            shutil.copytree(self.base.run, self.folder / "run")

    def _arguments(self) -> list[str]:
        return self.command.arguments(self.base, self.folder)

    def _start(self) -> subprocess.Popen[str]:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        own = {"TMPDIR": str(self.folder / "tmp"), "PIXPNET_CACHE": str(self.folder / "cache")}
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *self._arguments()],
            cwd=self.folder,
            env=os.environ | one_thread | own | {"CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _end(
        self, process: subprocess.Popen[str], *, after: float = LONGEST, number: signal.Signals | None = None
    ) -> tuple[int, str]:
        """The exit code and what was told, perhaps after a signal."""
        try:
            _, told = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            if number is None:
                self.tally.wrong_ends.append(f"{self.name} hung for {LONGEST:.0f} s")
                number = signal.SIGKILL
            process.send_signal(number)
            try:
                _, told = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self.tally.wrong_ends.append(f"{self.name} hung for 30 s after {number.name}")
                os.killpg(process.pid, signal.SIGKILL)
                _, told = process.communicate()
        if alive := _alive(process.pid):
            self.tally.left_over.append(f"processes of {self.name}: {alive}")
            os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, told

    def _check_end(
        self, code: int, told: str, number: signal.Signals, *, what: str, may_be_deaf: bool
    ) -> None:
        """Hold how a command ended against its signal, which may come before its work or after it."""
        last = told.strip().rpartition("\n")[2]
        is_told = number is signal.SIGKILL or last.startswith("pixpnet: interrupted")
        if code == SIGNALS[number] and is_told and "Traceback" not in told:
            return
        may_be_deaf = may_be_deaf or self._outcome() == self.wanted
        if not (may_be_deaf and (code == -number or last == "KeyboardInterrupt")):
            self._wrong(f"after {what}", code, told)

    def _wrong(self, what: str, code: int, told: str) -> None:
        self.tally.wrong_ends.append(f"{self.name} {what}: {code}, {told[-300:]!r}")

    def _is_complete(self) -> bool:
        """Whether there is nothing to go on with, though a signal came."""
        if self.name != "train":
            return False
        return any(RunDirectory(path.parents[1]).scores_file.exists() for path in self._configs())

    def _configs(self) -> list[Path]:
        return [*self.folder.rglob("results/config.yaml")]

    def _files(self) -> set[str]:
        """What there is of the command's own, while it comes and goes."""
        found = os.walk(self.folder)
        return {f"{top}/{name}" for top, _, files in found for name in files if not top.endswith("/tmp")}

    def _compare(self, what: str, *, is_swept: bool) -> None:
        found = self._outcome()
        for name in sorted({*found, *self.wanted}):
            if found.get(name) != self.wanted.get(name):
                self.tally.differences.append(f"{self.name} after {what}: {name}")
        left = [path for path in self.folder.rglob("*") if path.name.endswith((".partial", ".lock", ".part"))]
        left += [*(self.folder / "tmp").iterdir()] if is_swept else []
        names = (path.relative_to(self.folder) for path in left)
        self.tally.left_over += [f"{self.name} after {what}: {name}" for name in names]

    def _outcome(self) -> dict[str, object]:
        """What is compared of each file, by its name."""
        top = self.folder
        if self.name == "train":  # a run that was killed before its first checkpoint stays as it is
            done = [path.parents[1] for path in self._configs()]
            done = [path for path in done if RunDirectory(path).scores_file.exists()]
            if len(done) != 1:
                return {}
            top = done[0]
        files = [path for path in top.rglob("*") if path.is_file() and not _is_aside(path.relative_to(top))]
        return {path.relative_to(top).as_posix(): _content(path, top) for path in files}


def _is_aside(path: Path) -> bool:
    """Whether a file is none of a result: those of the system, and logs that tell the time."""
    return path.parts[0] in ("tmp", "tensorboard", "cache") or path.name == "calibration.json"


def _content(path: Path, top: Path) -> object:
    """What has to be the same: the bytes, but for measured times and the name of the run."""
    if path.suffix == ".ckpt":
        saved = load_checkpoint(path)
        tensors = {name: _sum(tensor.numpy().tobytes()) for name, tensor in saved.network.items()}
        return tensors, saved.sources, saved.epoch, saved.step, saved.metrics_bytes
    data = path.read_bytes().replace(top.name.encode(), b"RUN")
    if path.suffix == ".yaml":
        return _timeless(yaml.safe_load(data))
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(data.decode()))
        return [{name: cell for name, cell in row.items() if name.lower() not in _TIMES} for row in rows]
    return _sum(data)


def _timeless(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _timeless(value) for name, value in values.items() if name not in _TIMES}
    return [_timeless(value) for value in values] if isinstance(values, list) else values


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _alive(session: int) -> list[str]:
    """The processes of a session that are there after a moment."""
    for _ in range(30):
        found = subprocess.run(["ps", "-eo", "sess=,stat=,args="], capture_output=True, text=True, check=True)
        rows = [line.split(maxsplit=2) for line in found.stdout.splitlines()]
        alive = [row[2][:80] for row in rows if row[0] == str(session) and not row[1].startswith("Z")]
        if not alive:
            return []
        time.sleep(0.1)
    return alive


def _make_base(folder: Path) -> Base:
    base = Base(folder)
    rendered = ["--classes=3", "--size=64", "--train-images=10", "--test-images=4"]
    for arguments in (
        ["data", "synthbirds", f"--out={base.birds}", *rendered],
        ["train", f"--dataset.root={base.birds}", f"--log-dir={folder / 'logs'}", *_options(SMALL_RUN)],
        ["predict", "RUN", str(base.birds / "images" / "001*" / "*test*.png")],  # which calibrates it
    ):
        told = [str(base.run) if word == "RUN" else word for word in arguments]
        subprocess.run([sys.executable, "-m", "pixpnet", *told], capture_output=True, check=True)
    return base


def soak(folder: Path, *, minutes: float, seed: int, lanes: int) -> dict[str, Tally]:
    """Try all commands in turn, some at a time, until the minutes are over."""
    end = time.monotonic() + 60 * minutes
    base = _make_base(folder / "base")
    waiting = [Place(name, base, folder / name) for name in COMMANDS]
    places = list(waiting)
    lock, draw = threading.Lock(), random.Random(seed)

    def work() -> None:
        while time.monotonic() < end:
            with lock:
                place, own = waiting.pop(0), random.Random(draw.random())
            if not place.wanted:
                place.learn()
            elif place.tally.rounds % 5 == 4 and place.tally.in_pairs <= place.tally.rounds // 5:
                place.pair()
            else:
                place.disturb(own)
            with lock:
                waiting.append(place)

    with ThreadPoolExecutor(lanes) as pool:
        for lane in [pool.submit(work) for _ in range(lanes)]:
            lane.result()
    return {place.name: place.tally for place in places}


def table(tallies: Mapping[str, Tally]) -> str:
    """What came of it, as Markdown."""
    names = [number.name for number in SIGNALS]
    heads = ["command", "rounds", *names, "kills", "two at once", "refused"]
    heads += ["differences", "left over", "wrong ends"]
    rows = [
        [
            *(name, one.rounds, *(one.kills[each] for each in names), one.kills.total()),
            *(one.in_pairs, one.refused),
            *map(len, (one.differences, one.left_over, one.wrong_ends)),
        ]
        for name, one in tallies.items()
    ]
    rows.append(["all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))])
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="draws commands' signals and moments")
    parser.add_argument("--lanes", type=int, default=2, help="commands that are tried at a time")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    folder = folder.resolve()
    try:
        tallies = soak(folder, minutes=options.minutes, seed=options.seed, lanes=options.lanes)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(table(tallies))
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    print(*(f"- {fault}" for fault in faults), sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
