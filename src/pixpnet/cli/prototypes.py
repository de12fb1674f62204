"""``pixpnet prototypes``: what a person sees wrong in a trained network is changed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pixpnet.choices import choose
from pixpnet.cli.console import print_table, progress_bar, say
from pixpnet.cli.parser import Parser
from pixpnet.errors import ConfigError
from pixpnet.words import decimal, percent

MISSING = "–"

if TYPE_CHECKING:
    from pixpnet.editing import ListedPrototype, Suggestion
    from pixpnet.runs import Change

DESCRIPTION = """\
List the prototypes of a run, or change them: only the head learns anew, and all can be undone.
Numbers are those of the trained network, the first column of the list."""

ACTIONS = {
    "list": "what there is, and what speaks against it",
    "suggest": "what may go, and what that costs",
    "disable P [P ...]": "leave prototypes out",
    "enable P [P ...]": "bring them back",
    "merge A B": "leave B out; A stands for it",
    "relabel P CLASS": "let it speak for another class",
    "note P TEXT": "write something beside it",
    "forbid P [P ...]": "keep prototypes away from these patches in `pixpnet train --from`",
    "allow P [P ...]": "take that back",
    "undo": "take the last edit back",
    "redo": "do it again",
    "apply FILE": "the edits in a file, JSON lines as in results/edits.jsonl",
    "apply --suggested": "the suggestions that cost nothing",
}
"""How an action is called -> what it does."""

HEADINGS = ("P", "class", "image", "box", "weight", "used in", "flags")
"""Of the list."""


def prototypes(arguments: Sequence[str]) -> int:
    """Show prototypes or suggestions, or change something and print what that does."""
    parser = Parser("pixpnet prototypes", DESCRIPTION, of=["pixpnet.editing:edit"])
    parser.add_run("folder of the run")
    parser.add_argument("action", metavar="ACTION", help="; ".join(f"{n}: {w}" for n, w in ACTIONS.items()))
    parser.add_argument("given", nargs="*", metavar="...", help="what the action takes")
    parser.take("by", metavar="NAME", says="who does it; None: the name of the login")
    parser.take("why", metavar="TEXT")
    parser.take("dry_run")
    parser.add_argument("--suggested", action="store_true", help="of apply: what costs nothing")
    parser.add_argument("--json", action="store_true", help="print JSON lines, for programs (and for apply)")
    options = parser.parse(arguments)
    action, given = options.action, options.given
    choose(dict.fromkeys(name.partition(" ")[0] for name in ACTIONS), action, what="prototypes: action")
    if options.suggested > (action == "apply") or (action == "apply" and len(given) != 1 - options.suggested):
        raise ConfigError("prototypes: wanted `apply FILE` or `apply --suggested`.")
    if action in LISTS and given:
        raise ConfigError(f"prototypes: {action} takes nothing more, not {given[0]!r}.")
    changes, why = _changes(action, given), options.why
    from pixpnet.editing import edit, list_prototypes, read_changes, suggest

    run, root = options.run_dir, options.dataset_root
    with progress_bar("looking at the run") as progress:
        if action == "list":
            _show(list_prototypes(run, dataset_root=root, progress=progress), is_json=options.json)
            return 0
        if action == "suggest" or options.suggested:
            suggestions = suggest(run, dataset_root=root, progress=progress)
            if action == "suggest":
                _suggest(suggestions, is_json=options.json)
                return 0
            changes, why = [one.change for one in suggestions if one.is_free], why or "suggested"
            if not changes:
                say("Nothing that is suggested costs nothing.")
                return 0
        elif action == "apply":
            changes, told = read_changes(given[0])
            why = why or told
        edited = edit(
            run,
            *changes,
            by=options.by,
            why=why,
            dry_run=options.dry_run,
            dataset_root=root,
            progress=progress,
        )
    say(*([json.dumps(edited.plain(), ensure_ascii=False)] if options.json else edited.lines()))
    return 0


LISTS = ("list", "suggest")
"""Actions that change nothing."""


def _changes(action: str, given: Sequence[str]) -> list[Change]:
    """What an action of one change means.

    Raises:
        ConfigError: It lacks something.
    """
    if action in (*LISTS, "apply"):
        return []
    from pixpnet.runs import CHANGES, Change

    count = CHANGES[action].prototypes
    numbers = given if count is None else given[:count]
    wrong = [number for number in numbers if not (number.isascii() and number.isdigit())]
    if wrong:
        raise ConfigError(f"prototypes: {action}: {wrong[0]!r} is no number of a prototype.")
    return [Change(action, tuple(map(int, numbers)), " ".join(given[len(numbers) :]))]


def _show(found: Sequence[ListedPrototype], *, is_json: bool) -> None:
    if is_json:
        say(*(json.dumps(one._asdict(), ensure_ascii=False) for one in found))
        return
    rows = [
        (
            str(one.prototype),
            one.class_name,
            one.image,
            "{:g}, {:g}, {:g}, {:g}".format(*one.box),
            MISSING if one.weight is None else decimal(one.weight),
            MISSING if one.used is None else percent(one.used),
            "; ".join(one.flags),
        )
        for one in found
    ]
    title = "Prototypes; used in: the test images in whose evidence they are"
    print_table(title, HEADINGS, [rows], right=("P", "weight", "used in"), wrapped=HEADINGS[1:], width=150)


def _suggest(found: Sequence[Suggestion], *, is_json: bool) -> None:
    if is_json:
        say(*(json.dumps(one.plain(), ensure_ascii=False) for one in found))
        return
    rows = [(str(one.change), one.reason, str(one.cost).replace("-", "−")) for one in found]
    of = f" of {found[0].images:,} {found[0].split} images" if found else ""
    title = f"What may go; cost: so many fewer{of} are right"
    print_table(title, ("change", "because", "cost"), [rows], right=("cost",), wrapped=("because",))
