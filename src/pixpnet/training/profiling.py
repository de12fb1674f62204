"""Where the time of a run goes: by phase, by function or by operation, written into the run directory."""

from __future__ import annotations

import cProfile
import logging
import pstats
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from pixpnet.config import Config
from pixpnet.errors import ConfigError

_Batch = TypeVar("_Batch")

_logger = logging.getLogger(__name__)

ROWS = 60
"""Functions or operations in a table."""
ACTIVE_STEPS = 3
"""Training steps of each stage that torch's profiler records."""


class Profiler:
    """Measures nothing: what a run without `profile` has.

    The files of a profile begin with `stem`; the network computes on the device.
    """

    def __init__(self, stem: Path = Path(), device: torch.device | None = None) -> None:
        self.stem = stem
        self.device = device or torch.device("cpu")

    @contextmanager
    def running(self) -> Iterator[None]:
        """The run; what was measured is written at its end, also after an error."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """The run begins."""

    def stop(self) -> None:
        """The run ends."""

    def stage(self, name: str, *, steps: int) -> None:
        """An epoch of a stage begins, of which so many training steps are left."""

    def step(self) -> None:
        """A training step is done."""

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Something with a name of its own is being done."""
        return nullcontext()

    def batches(self, batches: Iterable[_Batch]) -> Iterable[_Batch]:
        """The same batches; waiting for each is a phase."""
        return batches

    def file(self, ending: str) -> Path:
        """A file to write, in a folder that is there."""
        self.stem.parent.mkdir(parents=True, exist_ok=True)
        return self.stem.with_name(f"{self.stem.name}{ending}")


class PhaseTimes(Profiler):
    """Wall time of each phase, without that of the phases inside of it."""

    def __init__(self, stem: Path, device: torch.device) -> None:
        super().__init__(stem, device)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._phases = ["other"]
        self._since = 0.0

    def start(self) -> None:
        self._since = time.perf_counter()

    def stop(self) -> None:
        self._turn()
        total = max(sum(self.seconds.values()), 1e-9)
        lines = [f"{'phase':<34}{'calls':>8}{'seconds':>12}{'share':>9}{'seconds each':>15}"]
        for name, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            calls = self.calls[name] or 1
            lines.append(
                f"{name:<34}{calls:>8}{seconds:>12.3f}{seconds / total:>9.1%}{seconds / calls:>15.5f}"
            )
        lines.append(f"{'all':<34}{'':>8}{total:>12.3f}")
        self.file(".txt").write_text("\n".join(lines) + "\n")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._turn()
        self._phases.append(name)
        try:
            yield
        finally:
            self._turn()
            self._phases.pop()
            self.calls[name] += 1

    def batches(self, batches: Iterable[_Batch]) -> Iterator[_Batch]:
        remaining = iter(batches)
        while True:
            with self.phase("training: waiting for images"):
                batch = next(remaining, None)
            if batch is None:
                return
            yield batch

    def _turn(self) -> None:
        """Put what has passed down to the phase at hand."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # else the time of an operation is the next phase's
        now = time.perf_counter()
        self.seconds[self._phases[-1]] += now - self._since
        self._since = now


class FunctionTimes(Profiler):
    """Time and calls of each Python function of the main thread."""

    def __init__(self, stem: Path, device: torch.device) -> None:
        super().__init__(stem, device)
        self._profile = cProfile.Profile()

    def start(self) -> None:
        try:
            self._profile.enable()
        except ValueError as error:  # Python takes one at a time
            raise ConfigError(f"profiler: advanced can't run inside of another profiler ({error})") from error

    def stop(self) -> None:
        self._profile.disable()
        self._profile.dump_stats(self.file(".pstats"))
        with self.file(".txt").open("w") as file:
            pstats.Stats(self._profile, stream=file).sort_stats("tottime").print_stats(ROWS)


class OperationTimes(Profiler):
    """torch.profiler's trace of a few training steps of each stage, and a table of their operations."""

    def __init__(self, stem: Path, device: torch.device) -> None:
        super().__init__(stem, device)
        self._profile: profile | None = None
        self._stage = ""
        self._steps_left = 0

    def stage(self, name: str, *, steps: int) -> None:
        if name == self._stage:
            return
        self.stop()
        self._stage = name
        warmup, wait = int(steps > 1), int(steps > ACTIVE_STEPS + 1)
        active = min(ACTIVE_STEPS, steps - warmup - wait)
        self._steps_left = wait + warmup + active
        on_gpu = [ProfilerActivity.CUDA] if self.device.type == "cuda" else []
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *on_gpu],
            schedule=schedule(wait=wait, warmup=warmup, active=active, repeat=1),
            on_trace_ready=lambda done: self._write(done, name),
        )
        self._profile.start()

    def step(self) -> None:
        if self._profile is not None:
            self._profile.step()
            self._steps_left -= 1
            if self._steps_left == 0:
                self.stop()

    def stop(self) -> None:
        if self._profile is not None:
            self._profile.stop()
        self._profile = None

    def phase(self, name: str) -> AbstractContextManager[object]:
        return nullcontext() if self._profile is None else record_function(name)

    def _write(self, done: profile, stage: str) -> None:
        done.export_chrome_trace(str(self.file(f"-{stage}.json")))
        where = "device" if self.device.type == "cuda" else "cpu"
        table = done.key_averages().table(sort_by=f"self_{where}_time_total", row_limit=ROWS)
        self.file(f"-{stage}.txt").write_text(f"{table}\n")


PROFILERS: dict[str, Callable[[Path, torch.device], Profiler]] = {
    "simple": PhaseTimes,
    "advanced": FunctionTimes,
    "pytorch": OperationTimes,
}


def make_profiler(
    config: Config, folder: Path, *, device: torch.device, epochs_done: int, active: bool
) -> Profiler:
    """The profiler that a configuration asks for.

    Args:
        config: The run's.
        folder: Where its files go.
        device: Where the network computes.
        epochs_done: Those before an interruption: what is measured after it goes to files of its own.
        active: Whether this is the process that measures.
    """
    if not config.profile and config.profiler != Config.profiler and active:
        _logger.warning("profiler %s measures nothing without `profile`", config.profiler)
    resumed = f"-from-epoch-{epochs_done + 1}" if epochs_done else ""
    kind = PROFILERS[config.profiler] if config.profile and active else Profiler
    return kind(folder / f"{config.profiler}{resumed}", device)
