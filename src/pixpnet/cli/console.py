"""What commands show in a terminal: progress on stderr, tables on stdout."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixpnet.types import Progress


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

    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in right else "left", no_wrap=heading not in wrapped
        )
    for group in groups:
        for row in group:
            table.add_row(*row)
        table.add_section()
    console = Console()
    console.width = console.width if console.is_terminal else width
    console.print(table)
