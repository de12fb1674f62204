"""How `make docs` builds the site: Markdown by MyST; commands, options and the API from the code itself."""

import inspect
import os
import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from astroid import MANAGER
from astroid.nodes import If, Module, Name, NodeNG
from autoapi import _astroid_utils
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring

import pixpnet
from pixpnet.cli import Parser
from pixpnet.cli.data import ACTIONS
from pixpnet.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]

project = "PixPNet"
copyright = "the PixPNet authors, Apache-2.0"
version = release = pixpnet.__version__
extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "furo"
html_title = f"PixPNet {version}"
html_show_sourcelink = html_copy_source = False
default_role = "py:obj"  # `name` in a docstring is a link where there is something of that name
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries = False  # every page's navigation would hold every name
napoleon_custom_sections = [("Attributes", "params_style")]  # or each would be described twice
myst_heading_anchors = 4

# Only the faces of the rooms: pixpnet itself, its packages' `__all__`, and its modules.
autoapi_dirs = [str(ROOT / "src" / "pixpnet")]
autoapi_root = "reference/api"
autoapi_add_toctree_entry = False
autoapi_options = ["members", "undoc-members", "imported-members", "show-module-summary"]


def leave_out(app: Sphinx, kind: str, name: str, member: object, skip: bool, options: object) -> bool:
    """Whether autoapi leaves out what is no part of a face."""
    if kind in ("module", "package"):
        return name.count(".") > 1 or name.endswith("__main__")
    if name.count(".") == 1:  # pixpnet's own names are those of its packages, and listed by `names`
        return True
    is_package = (ROOT / "src" / name.rpartition(".")[0].replace(".", "/")).is_dir()
    return skip or (member.imported and not is_package)


def as_written(annotation: NodeNG | None) -> str | None:
    """A type as the source has it, `Float[Tensor, 'b c']`; autoapi's own would lose the quotes of the shape.

    What is PixPNet's own becomes a link to the face it is imported from.
    """
    if annotation is None:
        return None
    text = annotation.as_string()
    for name in {node.name for node in annotation.nodes_of_class(Name)}:
        full = _astroid_utils.resolve_qualname(annotation, name)
        if full.startswith("pixpnet."):
            text = re.sub(rf"\b{name}\b", f"{'.'.join(full.split('.')[:2])}.{name}", text)
    return text


def hoist(module: Module) -> None:
    """Take what a lazy face imports under `if TYPE_CHECKING` for imported; autoapi would not see it."""
    module.body = [one for node in module.body for one in (node.body if isinstance(node, If) else [node])]


_astroid_utils.format_annotation = as_written
# What is said of an attribute may have a colon; napoleon would take the words before it for a type.
GoogleDocstring._parse_attribute_docstring = GoogleDocstring._consume_to_end
MANAGER.register_transform(Module, hoist, lambda one: one.package and one.name.startswith("pixpnet"))


def parser_of(name: str, action: str = "") -> Parser:
    """The parser that a command makes, as it is when it prints its help."""
    command = ACTIONS[action] if action else getattr(import_module(f"pixpnet.cli.{COMMANDS[name][0]}"), name)
    with patch.object(Parser, "print_help", autospec=True) as printed, suppress(SystemExit):
        command(["--help"])
    return printed.call_args.args[0]


def escaped(text: str) -> str:
    """Plain text with `code` as Markdown."""
    return re.sub(r"(`[^`]*`)|([<*])", lambda found: found[1] or f"\\{found[2]}", text)


def options_of(parser: Parser, groups: slice) -> str:
    """The arguments of some groups of a parser: each its own entry, which can be linked and searched."""
    lines = [f"```{{program}} {parser.prog}\n```\n"]
    for group in parser._action_groups[groups]:
        if group.title not in ("positional arguments", "options"):
            lines.append(f"## {escaped(group.title.replace('-', ' '))}\n")
        for action in group._group_actions:
            if action.help and action.dest != "help":
                among = "{" + ",".join(action.choices or ()) + "}"
                value = action.metavar or (among if action.choices else action.dest.upper())
                value = "" if action.nargs == 0 else value
                names = ", ".join(f"{flag} {value}".rstrip() for flag in action.option_strings) or value
                lines.append(f"```{{option}} {names}\n{escaped(action.help.replace('%%', '%'))}\n```\n")
    return "\n".join(lines)


def commands() -> str:
    """Every command: how it is called, what it does, its arguments."""
    lines = []
    for name in COMMANDS:
        for action in ACTIONS if name == "data" else [""]:
            parser = parser_of(name, action)
            usage = parser.format_usage().removeprefix("usage: ")
            lines += [f"## {parser.prog}\n", escaped(parser.description), f"\n```text\n{usage}```\n"]
            lines += [options_of(parser, slice(0, 2))]
            if parser.epilog:
                lines += [f"```text\n{parser.epilog}\n```\n"]
            if parser._action_groups[2:]:
                lines += ["All [options of a configuration](options.md) can follow.\n"]
    return "\n".join(lines)


def names() -> str:
    """What pixpnet itself has, each with its first line and a link to where it lives."""
    rows = []
    for name in pixpnet.__all__:
        home, doc = pixpnet._HOMES[name], inspect.getdoc(getattr(pixpnet, name))
        what = escaped(doc.splitlines()[0].replace("``", "`").replace("|", "\\|"))
        rows.append(f"| {{py:obj}}`pixpnet.{name} <pixpnet.{home}.{name}>` | {what} |")
    return "\n".join(["| name | what it is |", "|---|---|", *rows])


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what the code says where a page has `<!-- built: … -->`, or the file that a page links to."""
    if link := re.fullmatch(r"\[.*\]\(\.\./\.\./(\w+\.md)\)\s*", source[0]):
        text = (ROOT / link[1]).read_text("utf-8")  # its links start at the repository's root
        source[0] = re.sub(
            r"\]\((docs/)?(?!#|https?:)", lambda found: "](/" if found[1] else "](../../", text
        )

    def built(found: re.Match[str]) -> str:
        with patch.dict(os.environ, COLUMNS="90", NO_COLOR="1"):
            return BUILT[found[1]]()

    text = re.sub(r"<!-- built: (\w+) -->", built, source[0])
    names = "|".join(path.stem for path in Path(__file__).parent.glob("project/*.md"))
    page = re.compile(rf"\]\((?:\.\./)+({names})\.md", re.IGNORECASE)
    source[0] = page.sub(lambda found: f"](/project/{found[1].lower()}.md", text)


BUILT = {
    "commands": commands,
    "names": names,
    "options": lambda: options_of(parser_of("train"), slice(2, None)),
}
"""What pages can ask for."""


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autoapi-skip-member", leave_out)
    app.connect("source-read", fill)
