"""Prototypes edited by hand while their network is served: `pixpnet.edit` and its like, as JSON.

All of it happens in the line, so a picture is answered by the network before an edit or by the one after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request

from pixpnet.editing import edit, list_prototypes, suggest
from pixpnet.errors import CheckpointError
from pixpnet.explanation import Predictor
from pixpnet.records import checked
from pixpnet.runs import (
    CHANGES,
    Change,
    History,
    Run,
    RunDirectory,
    best_checkpoint,
    load,
    load_checkpoint,
    network_in_force,
    read_history,
)
from pixpnet.serving.limits import Limits, read_body
from pixpnet.serving.line import Line

HEADER = "X-PixPNet-Edit"
"""What requests here have to have, whatever its value: browsers let no page of another server send it."""

Answer = TypeVar("Answer")

_TEXT = {"type": "string"}
_WANTED: dict[str, Any] = {
    "type": "object",
    "required": ["changes", "follows", "by"],
    "properties": {
        "changes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["do"],
                "properties": {
                    "do": {"enum": [*CHANGES]},
                    "prototypes": {"type": "array", "items": {"type": "integer"}},
                    "text": {**_TEXT, "description": "The class of relabel, the words of note"},
                },
            },
        },
        "follows": {**_TEXT, "description": "What `GET /v1/edits` said: the list that it is meant to follow"},
        "by": {**_TEXT, "description": "Who does it"},
        "why": _TEXT,
        "keep": {"type": "boolean", "description": "False, as where it is missing: it is only tried"},
    },
}
_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _WANTED}}}}


@dataclass(frozen=True)
class WantedEdit:
    """What is asked for."""

    changes: tuple[Change, ...]
    follows: str
    by: str
    why: str = ""
    keep: bool = False


def with_all_sources(run: Run) -> Run:
    """A run that may be edited, with the training patches of all its prototypes, also of those that are out.

    Raises:
        CheckpointError: It is another network than the one in force.
        PixPNetError: As of `pixpnet.edit`.
    """
    list_prototypes(run)  # which says what hinders, and keeps what all that comes needs
    directory = _directory(run)
    if network_in_force(directory) != run.checkpoint:
        raise CheckpointError(f"{run.checkpoint} is not in force; to edit, give {directory.path}.")
    return replace(run, sources=load_checkpoint(best_checkpoint(directory)).sources)


def add_edits(
    app: FastAPI, run: Run, line: Line, limits: Limits, *, predictor_of: Callable[[Run], Predictor]
) -> None:
    """Add what edits, tries and lists.

    Args:
        app: The application.
        run: As of `with_all_sources`.
        line: Where the network works.
        limits: Of requests.
        predictor_of: Makes what answers of a run.
    """
    directory, root = _directory(run), run.config.dataset.root

    def follow() -> History:
        """Let the network in force answer from now on, whoever made it."""
        history = read_history(directory)
        if network_in_force(directory) != line.predictor.run.checkpoint:
            new = load(directory.path, dataset_root=root)
            here = replace(new.config.dataset, workers=0)  # a thread among others starts no processes
            new.network.to(run.device)
            predictor = predictor_of(replace(new, config=replace(new.config, dataset=here)))
            _ = predictor.calibration  # before anyone is answered by it
            line.predictor = predictor
        return history

    def listed() -> dict[str, Any]:
        history = follow()
        found = list_prototypes(directory.path, dataset_root=root)
        return {
            "follows": history.checksum,
            "network": line.predictor.run.checkpoint.name,
            "edits": [{**one.alone.plain(), "told": str(one)} for one in history.lines],
            "undo": str(history.done[-1]) if history.done else None,
            "redo": str(history.undone[-1]) if history.undone else None,
            "prototypes": [
                {**one._asdict(), "image_id": run.sources[one.prototype].image_id} for one in found
            ],
        }

    def suggested() -> list[dict[str, Any]]:
        found = suggest(directory.path, dataset_root=root)
        return [{**one.plain(), "told": str(one.change), "is_free": one.is_free} for one in found]

    def done(wanted: WantedEdit) -> dict[str, Any]:
        edited = edit(
            directory.path,
            *wanted.changes,
            by=wanted.by,
            why=wanted.why,
            dry_run=not wanted.keep,
            follows=wanted.follows,
            dataset_root=root,
        )
        follow()
        return {**edited.plain(), "kept": wanted.keep, "told": str(edited.edit), "rows": edited.rows()}

    async def in_line(work: Callable[[], Answer]) -> Answer:
        with line.place():
            return await line.do(work, patient=True)

    router = APIRouter(prefix="/v1/edits", dependencies=[Depends(_check_header)])

    @router.get("")
    async def edits() -> dict[str, Any]:
        """The list of edits, and all trained prototypes with what speaks against each."""
        return await in_line(listed)

    @router.get("/suggestions")
    async def suggestions() -> list[dict[str, Any]]:
        """What may go, and what that costs."""
        return await in_line(suggested)

    @router.post("", openapi_extra=_BODY)
    async def change(request: Request) -> dict[str, Any]:
        """What an edit does to the test images, before and after; where `keep` is true it is kept."""
        with line.place():
            body = await read_body(request, limits)
            try:
                wanted: WantedEdit = checked(WantedEdit, json.loads(body), "the edit")
            except (ValueError, RecursionError) as error:
                raise HTTPException(422, f"this is no edit: {error}.") from error
            if not wanted.by.strip():
                raise HTTPException(422, "say who edits.")
            return await line.do(partial(done, wanted), patient=True)

    app.include_router(router)


def _check_header(sent: Annotated[str | None, Header(alias=HEADER)] = None) -> None:
    if sent is None:
        raise HTTPException(403, f"this needs the header {HEADER}, which no other server's page can send.")


def _directory(run: Run) -> RunDirectory:
    directory = RunDirectory.of_checkpoint(run.checkpoint)
    assert directory is not None, "list_prototypes takes no other run"
    return directory
