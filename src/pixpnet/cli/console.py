"""What commands show in a terminal: progress on stderr, tables on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.table import Table


class Update(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, total: int, *, title: str | None = None) -> None:
        """So much is done of so much; title: what is being done now, if that is something else."""
        ...


@contextmanager
def progress_bar(title: str) -> Iterator[Update]:
    """A bar that goes when it is done; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int, *, title: str | None = None) -> None:
            bar.update(task, completed=done, total=total, description=title)

        yield update


def print_table(table: Table, *, width: int = 120) -> None:
    """Print a table, in so many columns where there is no terminal to say how many."""
    from rich.console import Console

    console = Console()
    console.width = console.width if console.is_terminal else width
    console.print(table)
