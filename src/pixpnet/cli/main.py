"""The entry: which sub-command runs, and how its errors end."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType

import pixpnet
from pixpnet.choices import did_you_mean
from pixpnet.cli.console import any_encoding, say
from pixpnet.errors import ConfigError, FileError, PixPNetError
from pixpnet.log import start_logging
from pixpnet.memory import LESS, keep_freed_memory
from pixpnet.workers import ENDING

COMMANDS = {
    "fit": ("fit", "a folder of photographs in, a trained and explained network out"),
    "train": ("train", "train a network, project its prototypes, test it"),
    "demo": ("train", "train on built-in pictures of birds, then explain some"),
    "configs": ("train", "list the configurations that come with the package"),
    "predict": ("predict", "say what new pictures show: a table of classes and evidence"),
    "explain": ("runs", "draw why a trained network decides as it does"),
    "verify": ("runs", "try whether pixels outside the displayed boxes matter"),
    "evaluate": ("evaluate", "measure how good its explanations are"),
    "report": ("runs", "write one HTML file that shows a run"),
    "export": ("export", "write a network for others: a folder that stands alone, ONNX, torch"),
    "prototypes": ("prototypes", "list prototypes, and change by hand what is wrong with them"),
    "serve": ("serve", "a page to drop pictures on, and a JSON API"),
    "compare": ("runs", "runs side by side, as Markdown and HTML"),
    "rf": ("rf", "receptive fields of every layer of a backbone"),
    "goldilocks": ("goldilocks", "which layer of which backbone is just right"),
    "data": ("data", "list, prepare and check data sets; render SynthBirds"),
}
"""Sub-command -> the module of its function of that name, imported when it is called, and its help."""


_GRACE = 15.0
"""Seconds from a signal to the end, whatever hangs: what is being written is whole or gone at any time."""


_IMPORTING = "<frozen importlib"
"""How names of the files begin in which Python's imports are written."""

_OPEN_FILES = 64
"""What libraries, loaders and locks of a command take at least, with a few workers."""

_NO_MEMORY = "(not enough|can't allocate|out of) memory"
"""How torch's allocators say it."""
_HINTS = {
    errno.EMFILE: "; fewer of dataset.workers or a higher `ulimit -n` help",
    errno.ENOMEM: f"; {LESS}",
}
"""What helps against errors of the system."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pixpnet`` and return its exit code.

    0, 1 (it failed), 2 (wrong usage), or of a signal: 130 (Ctrl-C), 143 (SIGTERM), 129 (SIGHUP).

    Of ``verify`` 1 also says that a trial failed, of ``predict --strict`` 3 that a picture could not be read.

    Args:
        argv: The arguments; None: the process's.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return exit_code("pixpnet", lambda: _dispatch(arguments))


def exit_code(program: str, run: Callable[[], int]) -> int:
    """Start logging and run; errors meant for users become a line on stderr, and a code as `main` has it."""
    with any_encoding(), _interrupting(program) as signals:
        return _exit_code(program, run, signals)


@contextmanager
def _interrupting(program: str) -> Iterator[list[int]]:
    """Let all signals that end a process interrupt, as Ctrl-C does; those that came are in the list."""
    came: list[int] = []
    timers: list[threading.Timer] = []
    process, tell = os.getpid(), sys.unraisablehook

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # one that was forked
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if not came:
            start(_GRACE, give_up, number)
        came.append(number)
        if hasattr(signal, "SIGCHLD"):  # that loaders of data end, too, is no error of theirs
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while frame is not None and frame.f_code is not _exit_code.__code__:
            # Libraries in C++ abort the process where an error comes while they are imported.
            if frame.f_code is unheard.__code__ or frame.f_code.co_filename.startswith(_IMPORTING):
                return start(0.1, os.kill, process, number)
            frame = frame.f_back
        raise KeyboardInterrupt

    def give_up(number: int) -> None:
        with suppress(OSError):  # nobody may be there to read it; and whoever hangs may hold sys.stderr
            os.write(2, f"{program}: interrupted, and ended after {_GRACE:g} s of waiting\n".encode())
        os._exit(128 + number)

    def unheard(unraisable: sys.UnraisableHookArgs) -> None:
        if not came:
            tell(unraisable)
        elif unraisable.exc_type is KeyboardInterrupt:  # in a destructor, which nothing leaves: once more
            start(0.1, os.kill, process, came[0])

    def start(seconds: float, call: Callable[..., object], *arguments: int) -> None:
        timers.append(threading.Timer(seconds, call, arguments))
        timers[-1].start()

    is_main = threading.current_thread() is threading.main_thread()
    usual = (signal.SIG_DFL, signal.default_int_handler)
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING) if is_main}
    heard = {number: former for number, former in heard.items() if former in usual}
    for number in heard:
        signal.signal(number, interrupt)
    sys.unraisablehook = unheard
    try:
        yield came
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = tell
        for number, former in heard.items():
            signal.signal(number, former)


def _exit_code(program: str, run: Callable[[], int], signals: Sequence[int]) -> int:
    try:
        try:
            start_logging(os.environ)
            _check_open_files()
            keep_freed_memory(os.environ)
            code = run()
            if signals:  # that waited for an import, and for longer than the rest took
                raise KeyboardInterrupt
            return code
        except Exception as error:
            if signals:  # of what else was ended, too
                raise KeyboardInterrupt from error
            raise
    except PixPNetError as error:
        say(f"{program}: error: {_one_line(error)}", error=True)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt as interrupt:
        say(f"{program}: interrupted{_note(interrupt)}", error=True)
        return 128 + next(iter(signals), signal.SIGINT)
    except SystemExit as end:  # argparse's --help
        return int(end.code or 0)
    except BrokenPipeError:  # the reader of our output is gone: `pixpnet rf resnet18 | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search(_NO_MEMORY, str(error)):
            raise
        say(f"{program}: error: there is not enough memory{_asked_for(error)}; {LESS}", error=True)
        return 1
    except OSError as error:  # a full disk, a folder that is a file, no permission
        sys.unraisablehook = lambda _: None  # what is half made then can't be taken apart in order, either
        say(f"{program}: error: {error}{_HINTS.get(error.errno or 0, '')}", error=True)
        return 1


def _asked_for(error: Exception) -> str:
    """How much memory was asked for at once, as torch and numpy say it."""
    found = re.search(r"allocate ([\d.]+ (?:[KMGT]iB|bytes))", str(error))
    if found is None:
        return ""
    number, unit = found[1].split()
    size = float(number) * {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit]
    return f" for {size / 1e9:.3g} GB at once"


def _check_open_files() -> None:
    """Check that processes and the pipes to them can be opened, or they fail in the middle with many words.

    Raises:
        FileError: The system's limit is too low.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < _OPEN_FILES:
        raise FileError(
            f"only {limit} files may be open at a time, and {_OPEN_FILES} are needed; more may with "
            f"`ulimit -n {8 * _OPEN_FILES}`, or as the administrator says."
        )


def _dispatch(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"pixpnet {pixpnet.__version__}")
    elif name in COMMANDS:
        module, _ = COMMANDS[name]
        return getattr(import_module(f"pixpnet.cli.{module}"), name)(rest)
    else:
        raise ConfigError(f"{name!r} is not one of {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}")
    return 0


def _help() -> str:
    commands = "\n".join(f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items())
    return (
        "usage: pixpnet COMMAND [...]\n\n"
        "Pixel-grounded prototypical part networks.\n\n"
        f"commands:\n{commands}\n\n"
        "`pixpnet COMMAND --help` tells more of each; `pixpnet --version` prints the version.\n"
        "PIXPNET_LOG_LEVEL (DEBUG, INFO, WARNING, ERROR) sets what is logged.\n"
        "PIXPNET_KEEP_MEMORY=no hands freed memory back to the system at once, which is slower on Linux."
    )


def _one_line(error: PixPNetError) -> str:
    return " ".join(str(error).split())


def _note(interrupt: KeyboardInterrupt) -> str:
    return f": {interrupt.args[0]}" if interrupt.args else ""
