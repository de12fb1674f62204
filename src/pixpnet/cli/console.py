"""What commands show in a terminal: progress on stderr, tables on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from pixpnet.types import Progress

__all__ = ["print_table", "progress_bar"]


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar that goes when it is done; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int, doing: str = "", /) -> None:
            bar.update(task, completed=done, total=total, description=doing or None)

        yield update


def print_table(table: Table, *, width: int = 120) -> None:
    """Print a table, in so many columns where there is no terminal to say how many."""
    from rich.console import Console

    console = Console()
    console.width = console.width if console.is_terminal else width
    console.print(table)
