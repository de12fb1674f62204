"""What all pages have in common: templates that escape, and files beside them."""

from __future__ import annotations

import re
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


def templates() -> Environment:
    """The templates; whatever comes from data, runs or settings is escaped, what is missing is an error."""
    environment = Environment(
        loader=PackageLoader("pixpnet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


def asset(name: str) -> str:
    """The text of a style sheet or script."""
    return (files("pixpnet.report") / "templates" / name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """A name or path that may go on in the next line after each ``_`` and ``/``.

    >>> _breakable("<a>/b__c")
    Markup('&lt;a&gt;/<wbr>b__<wbr>c')
    """
    return Markup(re.sub("([_/]+)", r"\1<wbr>", str(escape(text))))
