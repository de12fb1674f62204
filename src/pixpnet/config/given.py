"""What a user gave, before it has a type: the options of a command line and of a YAML file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import yaml

from pixpnet.choices import did_you_mean
from pixpnet.config.options import Option, to_kebab
from pixpnet.config.sections import OPTIONS, SECTIONS
from pixpnet.errors import ConfigError, FileError
from pixpnet.files import MOST_YAML, read_text

_NEGATIVE_NAMES = {option.negative_name: name for name, option in OPTIONS.items() if option.is_flag}
_NULL = "tag:yaml.org,2002:null"
_RETIRED = {"dataset.augment-on": "training images are augmented by the loaders"}
"""Options that files of earlier runs still hold, and what is done instead."""

_logger = logging.getLogger(__name__)


class Given(NamedTuple):
    """One option with its value, as the command line or a file gave it."""

    option: Option
    value: str | list[str] | None
    """The text, the texts of a list, or None for ``null``."""
    negative: bool
    """Whether the name was the one that switches a flag off."""
    spelled: str
    """Where the option stands and how the user spelled it, to begin an error with."""


def read_arguments(argv: Sequence[str]) -> tuple[list[Path], list[Given]]:
    """The configuration files (``-c FILE``) and the options (``--train.epochs 3``, ``--train.epochs=3``).

    Raises:
        ConfigError: An option is unknown, has no value or too many, or comes in both of its forms.
    """
    files: list[Path] = []
    given: list[Given] = []
    for name, values in _tokens(argv):
        if name in ("-c", "--config"):
            if len(values) != 1:
                raise ConfigError(f"{name} takes one YAML file, not {shown(values)}")
            files.append(Path(values[0]))
        elif not name.startswith("--"):
            raise ConfigError(f"unknown option {name}; -c FILE and -h are the only short ones")
        else:
            found = _look_up(name[2:], " ".join(values), dashes="--")
            given.append(found._replace(value=_value_of(found, values)))
    _refuse_repeats(given, may_repeat=True)
    return files, given


def _tokens(argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each option with the values up to the next one; a negative number is a value."""
    tokens: list[tuple[str, list[str]]] = []
    for argument in argv:
        name, equals, value = argument.partition("=")
        if argument.startswith("--") and len(argument) > 2:
            tokens.append((name, [value] if equals else []))
        elif re.match(r"-[a-zA-Z]", argument):
            tokens.append((argument, []))
        elif tokens:
            tokens[-1][1].append(argument)
        else:
            raise ConfigError(
                f"{shown(argument)} is not an option; options look like --train.epochs 3{_meant(argument)}"
            )
    return tokens


def _meant(argument: str) -> str:
    """What somebody may have meant who gave no option."""
    path = Path(argument)
    if path.is_dir():
        return (
            f". For a folder of pictures there is `pixpnet fit {shown(argument)}`; here give "
            f"--dataset.name folder --dataset.root {shown(argument)}"
        )
    return f". To read options from it: -c {shown(argument)}" if path.is_file() else ""


def _value_of(given: Given, values: list[str]) -> str | list[str] | None:
    """The one value of an option; a flag alone is true, and a list may have many."""
    if given.option.is_flag and not values:
        return "true"
    if given.option.is_list and values:
        return re.sub(r"[\[\](),]", " ", " ".join(values)).split()
    if len(values) != 1:
        count = f"{len(values)} values: {shown(values)}" if values else "no value"
        raise ConfigError(f"{given.spelled}: takes one value, {given.option.allowed}; got {count}")
    return None if values[0] == "null" else values[0]


def shipped_configurations() -> dict[str, str]:
    """The YAML texts that come with the package, by the names that ``-c`` takes."""
    folder = files("pixpnet") / "configs"
    found = sorted(folder.iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text("utf-8") for file in found}


def read_file(path: Path) -> list[Given]:
    """The options of a YAML file, or of the shipped configuration of that name.

    Raises:
        ConfigError: It can't be read; else as `read_yaml`.
    """
    shipped = shipped_configurations()
    if str(path) in shipped:
        return read_yaml(shipped[str(path)], source=str(path))
    if not path.exists():
        folders = (path.parent.glob("*.y*ml"), Path("configs").rglob("*.y*ml"))
        there = next((found for folder in folders if (found := sorted(map(str, folder)))), [])
        others = f"; there are {', '.join(there)}" if there else ""
        guess = did_you_mean(str(path), [*there, *shipped]) or others
        raise ConfigError(f"-c {path}: no such file, nor a name of `pixpnet configs`{guess}")
    try:
        return read_yaml(read_text(path, most=MOST_YAML), source=str(path))
    except FileError as error:
        raise ConfigError(f"-c {error}") from error


def read_yaml(text: str, *, source: str) -> list[Given]:
    """The options of a YAML text, nested by section; keys in kebab case or with ``_``.

    The text of each scalar is kept, so that ``3e-3`` can be a float and ``run-id: 007`` a text.

    Raises:
        ConfigError: With source and line: it is no YAML, or has an unknown option, or one twice.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: no valid YAML: {error.problem or error.context}") from None
    except RecursionError:
        raise ConfigError(f"{source}: no configuration: it is nested too deep") from None
    except yaml.YAMLError as error:  # characters that YAML forbids
        raise ConfigError(f"{source}: no valid YAML: {' '.join(str(error).split())}") from None
    given = [] if root is None else list(_options(root, source))
    _refuse_repeats(given, may_repeat=False)
    return given


def _options(root: yaml.Node, source: str) -> Iterator[Given]:
    for key, node in _items(root, source, what="the file"):
        if to_kebab(key.value) not in SECTIONS:
            yield _of_node(key.value, key, node, source)
        elif node.tag != _NULL:
            for inner, value in _items(node, source, what=f"section {key.value}"):
                name = f"{key.value}.{inner.value}"
                if to_kebab(name) in _RETIRED:
                    _logger.info(
                        "%s%s is not read: %s", _place(inner, source), name, _RETIRED[to_kebab(name)]
                    )
                else:
                    yield _of_node(name, inner, value, source)


def _items(node: yaml.Node, source: str, *, what: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{_place(node, source)}{what} is not made of `option: value` lines")
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{_place(key, source)}the name of an option must be a text")
        yield key, value


def _of_node(name: str, key: yaml.Node, node: yaml.Node, source: str) -> Given:
    value: str | list[str] | None = "{...}"
    if isinstance(node, yaml.ScalarNode):
        value = None if node.tag == _NULL else node.value
    elif isinstance(node, yaml.SequenceNode):
        value = [item.value if isinstance(item, yaml.ScalarNode) else "[...]" for item in node.value]
    found = _look_up(name, value, where=_place(key, source))
    if isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{found.spelled}: a section is not {found.option.allowed}")
    if found.option.is_flag and node.tag == _NULL and node.value == "":
        return found._replace(value="true")
    return found._replace(value=value.split()) if found.option.is_list and isinstance(value, str) else found


def _place(node: yaml.Node, source: str) -> str:
    return f"{source}:{node.start_mark.line + 1}: "


def _look_up(name: str, value: str | list[str] | None, *, where: str = "", dashes: str = "") -> Given:
    """An option by its dotted name, as the user spelled it after dashes.

    Args:
        where: What an error begins with (``file.yaml:3: ``).
        dashes: What stands before the names of options at that place (``--``).

    Raises:
        ConfigError: There is no such option.
    """
    kebab = to_kebab(name)
    spelled = f"{where}{dashes}{name}"
    if kebab in OPTIONS or kebab in _NEGATIVE_NAMES:
        negative = kebab not in OPTIONS
        return Given(OPTIONS[_NEGATIVE_NAMES[kebab] if negative else kebab], value, negative, spelled)
    if kebab in SECTIONS:
        raise ConfigError(f"{spelled}: {shown(value)} is a value, but {kebab} is a section {_members(kebab)}")
    raise ConfigError(
        f"{where}unknown option {dashes}{name} (its value: {shown(value)})"
        f"{_nearest(kebab, dashes)} {_members(kebab.partition('.')[0])}"
    )


def _nearest(name: str, dashes: str) -> str:
    key = name.rpartition(".")[2]
    elsewhere = [known for known in OPTIONS if known.rpartition(".")[2] == key]
    if elsewhere:
        return f"; did you mean {' or '.join(dashes + known for known in elsewhere)}?"
    return did_you_mean(name, [*OPTIONS, *_NEGATIVE_NAMES], before=dashes)


def _members(section: str) -> str:
    if section not in SECTIONS:
        outside = [name for name, option in OPTIONS.items() if not option.section]
        return f"(sections: {', '.join(SECTIONS)}; options outside: {', '.join(outside)})"
    keys = [to_kebab(option.field) for option in OPTIONS.values() if option.section == section]
    return f"(options of {section}: {', '.join(keys)})"


def _refuse_repeats(given: Iterable[Given], *, may_repeat: bool) -> None:
    """Refuse ``--train.checkpoint --train.no-checkpoint``, and in a file the same option twice."""
    first: dict[str, Given] = {}
    for one in given:
        other = first.setdefault(one.option.name, one)
        if other.negative != one.negative:
            raise ConfigError(f"{one.spelled}: contradicts {other.spelled}; give one of the two")
        if other is not one and not may_repeat:
            values = f"{shown(other.value)} and {shown(one.value)}"
            raise ConfigError(f"{one.spelled}: is there twice, as {values}")


def shown(value: object) -> str:
    """A value for an error message: on one line, quoted where one would not see its ends."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(" ,;:'\"") else repr(text)
