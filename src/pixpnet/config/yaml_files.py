"""Configuration files: from YAML to given values, and from a configuration to YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import yaml

from pixpnet.config.given import Given, give, refuse_both_forms, shown
from pixpnet.config.options import SECTIONS, did_you_mean, to_kebab
from pixpnet.config.sections import Config
from pixpnet.errors import ConfigError

__all__ = ["config_to_yaml", "read_file", "read_yaml"]

_NULL = "tag:yaml.org,2002:null"


def read_file(path: Path) -> list[Given]:
    """The options of a YAML file.

    Raises:
        ConfigError: If it can't be read; else as `read_yaml`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"-c {path}: no such file{_nearest_files(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"-c {path}: cannot be read as text ({error})") from None
    return read_yaml(text, source=str(path))


def read_yaml(text: str, *, source: str) -> list[Given]:
    """The options of a YAML text, nested by section; keys in kebab case or with ``_``.

    The text of each scalar is kept, so that ``3e-3`` can be a float and ``run-id: 007`` a text.

    Raises:
        ConfigError: With source and line: if it is no YAML, or has an unknown option.
    """
    root = _compose(text, source)
    given = [] if root is None else list(_options(root, source))
    _refuse_repeats(given)
    refuse_both_forms(given)
    return given


def config_to_yaml(config: Config) -> str:
    """Every option in kebab case; ``-c`` with a file of this text gives the same configuration."""
    nested = dataclasses.asdict(config)
    kebab = {
        to_kebab(key): {to_kebab(k): v for k, v in value.items()} if isinstance(value, dict) else value
        for key, value in nested.items()
    }
    return yaml.dump(kebab, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


class _Dumper(yaml.SafeDumper):
    """Writes tuples as lists on one line, and texts so that reading gives back every character."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # Unicode's own line breaks would be folded to spaces in any other style.
    style = '"' if set(value) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(tuple, lambda d, v: d.represent_sequence("tag:yaml.org,2002:seq", v, flow_style=True))


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        line = f":{place.line + 1}" if place else ""
        raise ConfigError(f"{source}{line}: no valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:  # characters that YAML forbids
        raise ConfigError(f"{source}: no valid YAML: {' '.join(str(error).split())}") from None


def _nearest_files(path: Path) -> str:
    folder = path.parent
    there = [str(found) for found in sorted(folder.glob("*.y*ml"))] or [
        str(found) for found in sorted(Path("configs").rglob("*.y*ml"))
    ]
    return did_you_mean(str(path), there) or (f"; there are {', '.join(there)}" if there else "")


def _options(root: yaml.Node, source: str) -> Iterator[Given]:
    for section, node in _items(root, source, what="the file"):
        if to_kebab(section.value) in SECTIONS and not _is_null(node):
            for key, value in _items(node, source, what=f"section {section.value}"):
                yield _give(f"{section.value}.{key.value}", key, value, source)
        elif to_kebab(section.value) not in SECTIONS:
            yield _give(section.value, section, node, source)


def _items(node: yaml.Node, source: str, *, what: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{_place(node, source)}{what} is not made of `option: value` lines")
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{_place(key, source)}the name of an option must be a text")
        yield key, value


def _give(name: str, key: yaml.Node, node: yaml.Node, source: str) -> Given:
    found = give(name, _plain(node), where=_place(key, source))
    if found.option.is_flag and _is_null(node) and node.value == "":
        return found._replace(value="true")
    if found.option.is_list and isinstance(found.value, str):
        return found._replace(value=found.value.split())
    if isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{found.spelled}: a section is not {found.option.allowed}")
    return found


def _plain(node: yaml.Node) -> str | list[str] | None:
    if isinstance(node, yaml.ScalarNode):
        return None if _is_null(node) else node.value
    if isinstance(node, yaml.SequenceNode):
        return [item.value if isinstance(item, yaml.ScalarNode) else "[...]" for item in node.value]
    return "{...}"


def _is_null(node: yaml.Node) -> bool:
    return node.tag == _NULL


def _place(node: yaml.Node, source: str) -> str:
    return f"{source}:{node.start_mark.line + 1}: "


def _refuse_repeats(given: list[Given]) -> None:
    first: dict[tuple[str, bool], Given] = {}
    for one in given:
        other = first.setdefault((one.option.name, one.negative), one)
        if other is not one:
            values = f"{shown(other.value)} and {shown(one.value)}"
            raise ConfigError(f"{one.spelled}: is there twice, as {values}")
