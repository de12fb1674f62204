"""What commands show in a terminal: progress on stderr, lines and tables on stdout.

Names of files and classes are shown as they are: no sign in them is taken for markup, an emoji's name or a
terminal's command, and what the terminal's encoding lacks is replaced.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pixpnet.words import NO_BREAK, visible

if TYPE_CHECKING:
    from pixpnet.types import Progress


_IN_ASCII = {
    **{"×": "x", "−": "-", "–": "-", "…": "...", "≥": ">=", "≤": "<=", "Δ": "delta", "→": "->"},
    NO_BREAK: " ",
}
"""What is written where an encoding lacks our own signs; all others become escapes."""


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return (
        "".join(_IN_ASCII.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking),
        error.end,
    )


@contextmanager
def any_encoding() -> Iterator[None]:
    """Let stdout and stderr take every text, in whatever encoding they are."""
    codecs.register_error("pixpnet.replaced", _replaced)
    streams = [one for one in (sys.stdout, sys.stderr) if isinstance(one, io.TextIOWrapper)]
    former = [one.errors for one in streams]
    for stream in streams:
        stream.reconfigure(errors="pixpnet.replaced")
    try:
        yield
    finally:
        for stream, errors in zip(streams, former, strict=True):
            if not stream.closed:
                stream.reconfigure(errors=errors)


def say(*lines: object, error: bool = False) -> None:
    """Print lines, each of them one whatever it holds, to stdout (or stderr)."""
    for line in lines:
        print(visible(line), file=sys.stderr if error else sys.stdout)


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar that goes when it is done; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(escape(title), total=None)

        def update(done: int, total: int, doing: str = "", /) -> None:
            bar.update(task, completed=done, total=total, description=escape(visible(doing)) or None)

        yield update


@contextmanager
def going_on(kept: str) -> Iterator[None]:
    """Let an interrupt say what is kept, and that the same command goes on from there."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"{kept}; the same command goes on from there") from interrupt


def print_table(
    title: str,
    headings: Sequence[str],
    groups: Iterable[Iterable[Sequence[str]]],
    *,
    right: Collection[str],
    wrapped: Collection[str] = (),
    width: int = 120,
) -> None:
    """Print rows, with a line after each group of them.

    Args:
        right: Headings of the columns that are flush right.
        wrapped: Headings of the columns whose texts may take several lines.
        width: Columns of characters where there is no terminal to say how many.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(visible(title)), title_justify="left")
    for heading in headings:
        table.add_column(
            Text(heading), justify="right" if heading in right else "left", no_wrap=heading not in wrapped
        )
    for group in groups:
        for row in group:
            table.add_row(*(Text(visible(cell)) for cell in row))
        table.add_section()
    console = Console()
    console.width = console.width if console.is_terminal else width
    console.print(table)
