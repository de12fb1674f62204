"""What the package's own source says of a name, read without importing it: help and checks need no torch."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function, or a field of a data class."""

    name: str
    help: str
    """What the docstring says of it, on one line."""
    source: ast.expr | None
    """Its default as it is written."""

    @property
    def default(self) -> Any:
        """The default, where it is a plain value; None where there is none."""
        return None if self.source is None else ast.literal_eval(self.source)


def parameters(where: str) -> dict[str, Parameter]:
    """The parameters of a function or the fields of a data class, such as ``pixpnet.report:write_report``."""
    found = _definition(where)
    assert isinstance(found, ast.FunctionDef | ast.ClassDef), where
    helps = argument_docs(ast.get_docstring(found) or "")
    if isinstance(found, ast.ClassDef):
        fields = [one for one in found.body if isinstance(one, ast.AnnAssign)]
        sources = {one.target.id: one.value for one in fields if isinstance(one.target, ast.Name)}
    else:
        given = found.args
        positional = [one.arg for one in (*given.posonlyargs, *given.args)]
        without: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
        sources = dict(zip(positional, [*without, *given.defaults], strict=True))
        sources |= dict(zip([one.arg for one in given.kwonlyargs], given.kw_defaults, strict=True))
    return {name: Parameter(name, helps.get(name, ""), source) for name, source in sources.items()}


def keys(where: str) -> tuple[str, ...]:
    """The keys of a table such as ``pixpnet.prototypes:DISTANCES``, in order."""
    found = _definition(where)
    assert isinstance(found, ast.Assign | ast.AnnAssign), where
    assert isinstance(found.value, ast.Dict), f"{where} is no table that can be read"
    return tuple(ast.literal_eval(key) for key in found.value.keys if key is not None)


def argument_docs(docstring: str) -> dict[str, str]:
    r"""The texts under ``Args:``, by name.

    >>> argument_docs("A line.\n\nArgs:\n    size: Of the image,\n        in pixels.\n    seed: Draws it.")
    {'size': 'Of the image, in pixels.', 'seed': 'Draws it.'}
    """
    _, _, arguments = docstring.partition("Args:\n")
    arguments = re.split(r"\n\s*\n", arguments)[0]
    found = re.findall(r"^\s+(\w+): (.+(?:\n(?!\s+\w+: ).+)*)", arguments, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _definition(where: str) -> ast.stmt:
    """The statement that defines a name; from a package's face, it is sought where the face has it from."""
    module, _, name = where.partition(":")
    statements = [node for node in ast.walk(_tree(module)) if isinstance(node, ast.stmt)]
    for node in statements:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node
    for node in statements:
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return _definition(f"{node.module}:{name}")
    raise LookupError(f"{where} is not in the source")


@cache
def _tree(module: str) -> ast.Module:
    place = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))
