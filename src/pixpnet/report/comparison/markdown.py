"""A comparison as Markdown that can be read as it stands, too."""

from __future__ import annotations

from collections.abc import Iterator

from pixpnet.report.comparison.table import Cell, Comparison, Line

LEGEND = (
    "**Bold**: the best of the row, where one way is better (↑ more, ↓ less) and the runs were measured "
    "alike. In brackets: the 95 % bootstrap interval. –: not measured."
)


def to_markdown(comparison: Comparison) -> str:
    """One table, with warnings before it and notes after it."""
    lines = [f"# Comparison of {len(comparison.labels)} runs", ""]
    for warning in comparison.warnings:
        lines += [f"> **Warning:** {_escape(warning)}", ""]
    lines += _table([("", *map(_escape, comparison.labels)), *_rows(comparison)])
    lines += ["", LEGEND, ""]
    lines += [f"- {_escape(note)}" for note in comparison.notes]
    lines += [
        f"- {_escape(label)}: `{path}`"
        for label, path in zip(comparison.labels, comparison.paths, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for group in comparison.groups:
        yield (f"*{_escape(group.title)}*", *("" for _ in comparison.labels))
        for line in group.lines:
            yield (_escape(_title(line)), *map(_cell, line.cells))


def _title(line: Line) -> str:
    arrow = {"high": " ↑", "low": " ↓"}.get(line.better, "")
    return f"{line.title}{arrow}" + (f": {line.detail}" if line.detail else "")


def _cell(cell: Cell) -> str:
    text = f"**{_escape(cell.text)}**" if cell.is_best else _escape(cell.text)
    return f"{text} [{cell.interval}]" if cell.interval else text


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their longest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = tuple("-" * max(3, width) for width in widths)
    padded = [
        [cell.ljust(max(3, width)) for cell, width in zip(row, widths, strict=True)]
        for row in (rows[0], rule, *rows[1:])
    ]
    return [f"| {' | '.join(row)} |" for row in padded]


def _escape(text: str) -> str:
    r"""Text that stays as it is in a cell.

    >>> _escape("a|b*c")
    'a\\|b\\*c'
    """
    for sign in "\\|*<[":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.splitlines())
