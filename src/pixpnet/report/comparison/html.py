"""A comparison as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import pixpnet
from pixpnet.report.comparison.table import Comparison

__all__ = ["to_html"]

STYLES = ("style.css", "comparison.css")


def to_html(comparison: Comparison) -> str:
    """The page, in the report's style; whatever comes from runs is escaped."""
    environment = Environment(
        loader=PackageLoader("pixpnet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": _code, "breakable": _breakable}
    styles = [(files("pixpnet.report") / "templates" / name).read_text("utf-8") for name in STYLES]
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison, style=Markup("\n".join(styles)), version=pixpnet.__version__
    )


def _code(text: str) -> Markup:
    """What stands between backticks as code.

    >>> _code("run `a < b` now")
    Markup('run <code>a &lt; b</code> now')
    """
    parts = enumerate(str(escape(part)) for part in text.split("`"))
    return Markup("".join(f"<code>{part}</code>" if number % 2 else part for number, part in parts))


def _breakable(text: str) -> Markup:
    """A name or path that may go on in the next line after each ``_`` and ``/``."""
    return Markup(re.sub("([_/]+)", r"\1<wbr>", str(escape(text))))
