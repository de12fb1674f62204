"""A comparison as one HTML file that needs nothing else."""

from __future__ import annotations

from markupsafe import Markup, escape

import pixpnet
from pixpnet.report.comparison.table import Comparison
from pixpnet.report.page import asset, templates

STYLES = ("style.css", "comparison.css")


def to_html(comparison: Comparison) -> str:
    """The page, in the report's style; whatever comes from runs is escaped."""
    environment = templates()
    environment.filters["code"] = _code
    style = "\n".join(map(asset, STYLES))
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison, style=Markup(style), version=pixpnet.__version__
    )


def _code(text: str) -> Markup:
    """What stands between backticks as code.

    >>> _code("run `a < b` now")
    Markup('run <code>a &lt; b</code> now')
    """
    parts = enumerate(str(escape(part)) for part in text.split("`"))
    return Markup("".join(f"<code>{part}</code>" if number % 2 else part for number, part in parts))
