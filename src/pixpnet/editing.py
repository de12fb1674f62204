"""Prototypes edited by hand: what a person sees wrong goes, the head learns anew, and all can be undone.

Only the head changes: what images show is asked once of the trained network, and kept in the run.
"""

from __future__ import annotations

import copy
import getpass
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pixpnet.data import Sample, loader
from pixpnet.errors import CheckpointError, ConfigError, DataError, FileError
from pixpnet.explanation import prototype_owners
from pixpnet.files import is_there, read_text, sha256_of, write_atomically
from pixpnet.prototypes import Head, PrototypeNetwork
from pixpnet.records import checked
from pixpnet.runs import (
    BACKGROUND,
    CHANGES,
    Change,
    Edit,
    History,
    ListedEdit,
    PrunedPrototype,
    Run,
    RunDirectory,
    Standing,
    append_edit,
    best_checkpoint,
    load,
    load_checkpoint,
    nearly_equal_pairs,
    object_shares,
    read_history,
    read_manifest,
    save_checkpoint,
)
from pixpnet.training import (
    SimilarityTable,
    find_candidates,
    head_without,
    make_execution,
    read_out,
    similarity_table,
    times_used,
)
from pixpnet.types import Box, ImageRecord, Progress, PrototypeSource, no_progress
from pixpnet.words import accuracy_in_words, number_in_words, percent, visible

NEIGHBOURS = 10
"""Training images whose patches are nearest to a prototype, one of each, tell its purity."""
PURE = 0.5
"""A prototype is impure if fewer of these are of its class."""
WEIGHTLESS = 0.01
"""A prototype has no weight if its largest one is less than this share of the largest of all."""

SPLITS_IN_WORDS = {"train": "training", "val": "validation"}
BATCH = 32
"""Images that are looked at together."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """How a network does on the run's test images."""

    prototypes: int
    accuracy: float
    class_accuracy: float
    """Mean over the classes."""
    images: int
    field_percent: float
    """Mean share of the picture that a prototype's patch is."""
    of_classes: dict[str, tuple[float, int]]
    """Accuracy and images of each class that has some."""


@dataclass(frozen=True)
class Edited:
    """What an edit changed."""

    edit: Edit
    before: Measured
    after: Measured
    changed: int
    """Test images that are predicted otherwise."""
    kept: Path | None
    """The run's list of edits; None: it was only tried."""

    def rows(self) -> list[tuple[str, str, str]]:
        """What a person has to know: its name, before, after."""
        before, after = self.before, self.after
        rows = [
            ("prototypes", f"{before.prototypes:,}", f"{after.prototypes:,}"),
            ("accuracy", *(accuracy_in_words(one.accuracy, one.images) for one in (before, after))),
        ]
        rows += [
            (f"  {name}", *(accuracy_in_words(*one.of_classes[name]) for one in (before, after)))
            for name in before.of_classes
            if before.of_classes[name] != after.of_classes[name]
        ]
        rows.append(("mean field", *(number_in_words(one.field_percent, "%") for one in (before, after))))
        return rows

    def lines(self) -> list[str]:
        """The same as text, with what was done, and whether it is kept."""
        rows = self.rows()
        width = max(len(title) for title, *_ in rows)
        return [
            str(self.edit),
            *(f"{title:<{width}}  {former} → {now}" for title, former, now in rows),
            f"{self.changed:,} of {self.after.images:,} predictions changed",
            f"Kept in {self.kept}." if self.kept else "Nothing is kept: it was only tried.",
        ]

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "edit": self.edit.plain(), "kept": self.kept and str(self.kept)}


class Suggestion(NamedTuple):
    """A change that somebody may want, and what it costs."""

    change: Change
    reason: str
    cost: int
    """By so many fewer images are right without the prototype, and without those suggested before that cost
    nothing; the head has not learned without them yet."""
    images: int
    split: str
    """Whose images these are: validation, or training where a run has no others."""

    @property
    def is_free(self) -> bool:
        return self.cost <= 0

    def plain(self) -> dict[str, Any]:
        """As plain values, which `read_changes` takes."""
        return {
            "changes": [self.change._asdict()],
            "why": self.reason,
            "cost": self.cost,
            "images": self.images,
            "split": self.split,
        }


class ListedPrototype(NamedTuple):
    """A prototype, and what speaks against it."""

    prototype: int
    """In the trained network: edits name it so."""
    now: int | None
    """Its place in the edited network; None: it is out."""
    class_name: str
    image: str
    """Path of the training image."""
    box: Box
    weight: float | None
    """For its class."""
    used: float | None
    """Share of test images in whose evidence it is."""
    purity: float | None
    """Share of the nearest training images that are of its class."""
    on_object: float | None
    """Share of its box that is the object; None: nothing tells."""
    flags: tuple[str, ...]


def edit(
    run: Run | str | Path,
    *changes: Change,
    by: str | None = None,
    why: str = "",
    dry_run: bool = False,
    follows: str | None = None,
    dataset_root: str | Path | None = None,
    progress: Progress = no_progress,
) -> Edited:
    """Change prototypes by hand, and tell what it does to the test images.

    Args:
        run: A finished run, or its folder.
        changes: One or more; together they are one edit, which one undo takes back.
        by: Who does it; None: the name of the login.
        why: What is wrong with them.
        dry_run: Only try it: nothing is kept.
        follows: SHA-256 of the list of edits that it is meant to follow (`History.checksum`); None: any.
        dataset_root: Where the run's data lies now, if it has moved (what dataset.root was in training).
        progress: Told of the images, where they are looked at for the first time.

    >>> twig = pixpnet.Change("disable", (1,))
    >>> tried = pixpnet.edit(RUN_DIR, twig, by="anna", dry_run=True)
    >>> tried.before.prototypes - tried.after.prototypes
    1

    Raises:
        ConfigError: It can't be done, or the list is another one by now; says why.
        CheckpointError: The run is not finished, its list of edits is damaged, or is of another network.
        DataError: The run's data set is gone, or has changed.
        FileError: Another process writes to the run, or nobody can.
    """
    if not changes:
        raise ConfigError("edit: give one change or more.")
    texts = (by or "", why, *(one.text for one in changes))
    if any(visible(text) != text for text in texts):
        raise ConfigError("edit: a text is one line, without control characters.")
    directory = _directory(run)
    with nullcontext() if dry_run else directory.writing():
        desk = _Desk.open(run, dataset_root=dataset_root, progress=progress)
        if follows not in (None, desk.history.checksum):
            raise ConfigError("edit: another edit was kept meanwhile; look at the prototypes again.")
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        new = Edit(changes, by or _login(), when, why)
        new.check()
        history = desk.history.after(new)
        after = desk.at(history)
        (before, told), (measured, tells) = desk.measured(desk.standing), desk.measured(after)
        if not dry_run:
            network = desk.write(history, after)
            values = {one.name: getattr(new, one.name) for one in fields(new)}
            line = ListedEdit(
                **values,
                trained=desk.sha256,
                network=network,
                accuracy=measured.accuracy,
                class_accuracy=measured.class_accuracy,
                images=measured.images,
            )
            append_edit(directory, desk.history, line)
            desk.remove_others(network)
    kept = None if dry_run else directory.edits_file
    return Edited(new, before, measured, int((told != tells).sum()), kept)


def suggest(
    run: Run | str | Path,
    *,
    dataset_root: str | Path | None = None,
    progress: Progress = no_progress,
) -> tuple[Suggestion, ...]:
    """What may go: duplicates, unused ones, those on the background, impure ones and those without weight.

    No class would be left without if all of it went.

    Args:
        run: A finished run, or its folder.
        dataset_root: Where the run's data lies now, if it has moved.
        progress: Told of the images, where they are looked at for the first time.

    >>> {one.change.do for one in pixpnet.suggest(RUN_DIR)} <= {"disable", "merge"}
    True

    Raises:
        PixPNetError: As of `edit`.
    """
    desk = _Desk.open(run, dataset_root=dataset_root, progress=progress)
    look, gone, found = desk.look, dict[int, int | None](), list[Suggestion]()
    split = "val" if "val" in desk.tables else "train"
    similarities, labels = desk.tables[split].of(look.kept)

    def right(gone: Mapping[int, int | None]) -> int:
        left = [place for place in range(len(look.kept)) if place not in gone]
        with torch.no_grad():
            logits = head_without(look.network.head, gone)(similarities[:, left])
        return int((logits.argmax(dim=1) == labels).sum())

    before = right(gone)
    for one in look.candidates():
        prototype, heir = look.kept[one.prototype], None if one.heir is None else look.kept[one.heir]
        change = Change("disable", (prototype,)) if heir is None else Change("merge", (heir, prototype))
        without = {**gone, one.prototype: one.heir}
        cost = before - right(without)
        reason = look.against(one.prototype, one.reason, one.heir)
        found.append(Suggestion(change, reason, cost, len(labels), SPLITS_IN_WORDS[split]))
        if cost <= 0:
            gone, before = without, before - cost
    return tuple(found)


def list_prototypes(
    run: Run | str | Path,
    *,
    dataset_root: str | Path | None = None,
    progress: Progress = no_progress,
) -> tuple[ListedPrototype, ...]:
    """The prototypes of a run, those that are out too, and what speaks against each.

    Args:
        run: A finished run, or its folder.
        dataset_root: Where the run's data lies now, if it has moved.
        progress: Told of the images, where they are looked at for the first time.

    >>> [one.prototype for one in pixpnet.list_prototypes(RUN_DIR)][:3]
    [0, 1, 2]

    Raises:
        PixPNetError: As of `edit`.
    """
    desk = _Desk.open(run, dataset_root=dataset_root, progress=progress)
    look, standing = desk.look, desk.standing
    flags, tested = look.flags(), desk.tables["test"].of(look.kept)
    used = times_used(look.network.head, [tested]) / len(tested.labels)
    owners = prototype_owners(standing.own_class, desk.run.class_names)
    rows = []
    for source in desk.run.sources:
        number = source.prototype
        now = look.kept.index(number) if number in look.kept else None
        label, owner = owners[number]
        name = source.class_name if label is None else owner
        told = [] if now is None else flags[now]
        if now is None:
            heir = standing.heirs[number]
            told = ["disabled" if heir is None else f"merged into {heir}"]
        if number in standing.labels:
            told = [*told, f"was of {source.class_name}"]
        if number in standing.forbidden:
            told = [*told, "forbidden in further training"]
        if number in standing.notes:
            told = [*told, f"note: {standing.notes[number]}"]
        rows.append(
            ListedPrototype(
                prototype=number,
                now=now,
                class_name=name,
                image=source.path,
                box=source.box,
                weight=None if now is None else float(look.weights[now]),
                used=None if now is None else float(used[now]),
                purity=None if now is None else float(look.purity[now]),
                on_object=None if now is None else look.on_object[now],
                flags=tuple(told),
            )
        )
    return tuple(rows)


def read_changes(file: str | Path) -> tuple[tuple[Change, ...], str]:
    """The changes in a file of JSON lines, such as a run's list of edits, and why they are made.

    Of each line ``changes`` counts (``[{"do": "merge", "prototypes": [3, 5]}]``) and ``why``; what
    is undone in it is left out.

    Raises:
        FileError: It can't be read, or holds something else.
    """
    history = History()
    for number, line in enumerate(read_text(Path(file)).splitlines(), 1):
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("it should hold names and values")
            changes = checked(tuple[Change, ...], values.get("changes"), "changes")
            one = Edit(changes, "", "", checked(str, values.get("why", ""), "why"))
            one.check()
            history = history.after(one)
        except (ValueError, RecursionError, ConfigError) as error:
            raise FileError(f"{file} can't be read: line {number}: {error}.") from error
    whys = dict.fromkeys(one.why for one in history.done if one.why)
    return tuple(change for one in history.done for change in one.changes), "; ".join(whys)


class _Desk:
    """A run's trained network, its edits, and how similar its images are to its prototypes."""

    def __init__(
        self, run: Run, directory: RunDirectory, history: History, tables: Mapping[str, SimilarityTable]
    ) -> None:
        self.run, self.directory, self.history, self.tables = run, directory, history, tables
        self.sha256 = sha256_of(run.checkpoint)
        self._heads: dict[tuple[object, ...], Head] = {}
        self.standing = self.at(history)

    @classmethod
    def open(cls, run: Run | str | Path, *, dataset_root: str | Path | None, progress: Progress) -> _Desk:
        directory = _directory(run)
        if not is_there(directory.scores_file):
            raise CheckpointError(f"{directory.path} is not finished; `pixpnet train --resume` goes on.")
        history, trained = read_history(directory), best_checkpoint(directory)
        if isinstance(run, Run) and dataset_root is None:
            dataset_root = run.config.dataset.root
        if history.lines and history.lines[-1].trained != sha256_of(trained):
            raise CheckpointError(f"{directory.edits_file} tells of another network than {trained}.")
        loaded = load(trained, dataset_root=dataset_root)
        loaded.require_sources()
        return cls(loaded, directory, history, _tables(loaded, directory, progress))

    def at(self, history: History) -> Standing:
        """What stands when these edits are done."""
        trained = Standing(self.run.network.own_class.cpu(), self.run.class_names)
        return trained.after(change for one in history.done for change in one.changes)

    def head(self, standing: Standing) -> Head:
        """The head that follows from the trained one: the same for the same edits."""
        key = _key(standing)
        if key not in self._heads:
            head = copy.deepcopy(self.run.network.head)
            for number, label in standing.labels.items():
                head.relabel(number, to=label)
            if _is_edited(standing):
                head = head_without(head, standing.heirs)
                kept = self._kept_head() if key == _key(self.standing) else None
                if kept is not None:
                    head.load_state_dict(kept)
                else:
                    config, table = self.run.config, self.tables["train"].of(standing.kept)
                    read_out(head, table, config=config, seed=config.seed or 0, epoch=self.run.epoch)
            self._heads[key] = head
        return self._heads[key]

    def _kept_head(self) -> dict[str, Tensor] | None:
        """The head in the edited network's file, which need not learn again; None: the file is gone."""
        sha256 = self.history.lines[-1].network if self.history.lines else None
        file = None if sha256 is None else self.directory.edited_file(sha256)
        if file is None or not file.is_file() or sha256_of(file) != sha256:
            return None
        network = load_checkpoint(file).network
        return {name.removeprefix("head."): one for name, one in network.items() if name.startswith("head.")}

    def network(self, standing: Standing, head: Head) -> PrototypeNetwork:
        """The edited network; backbone and add-on layers are the trained one's."""
        network = copy.copy(self.run.network)
        network._parameters, network._modules = {**network._parameters}, {**network._modules}
        network.head = copy.deepcopy(head)
        network.prototypes = torch.nn.Parameter(self.run.network.prototypes.detach()[standing.kept])
        return network

    def measured(self, standing: Standing) -> tuple[Measured, Int64[np.ndarray, "n"]]:
        """On the test images, whose classes as predicted come with it."""
        similarities, labels = self.tables["test"].of(standing.kept)
        predicted, labels = self.head(standing)(similarities).argmax(dim=1).numpy(), labels.numpy()
        right = predicted == labels
        of_classes = {
            self.run.class_names[label]: (float(right[labels == label].mean()), int((labels == label).sum()))
            for label in np.unique(labels).tolist()
        }
        height, width = self.run.image_size
        shares = [self.run.sources[number].box.area / (height * width) for number in standing.kept]
        found = Measured(
            prototypes=len(standing.kept),
            accuracy=float(right.mean()),
            class_accuracy=float(np.mean([accuracy for accuracy, _ in of_classes.values()])),
            images=len(labels),
            field_percent=100 * float(np.mean(shares)),
            of_classes=of_classes,
        )
        return found, predicted

    def write(self, history: History, standing: Standing) -> str | None:
        """Write the edited network to a file of its own; its checksum, or None where nothing is edited."""
        if not _is_edited(standing):
            return None
        network = self.network(standing, self.head(standing))
        kept = (self.run.sources[number] for number in standing.kept)
        edits = (one for one in history.done if any(CHANGES[change.do].edits for change in one.changes))
        edited = replace(
            load_checkpoint(self.run.checkpoint),
            network={name: tensor.clone() for name, tensor in network.state_dict().items()},
            sources=tuple(
                replace(source, prototype=place, trained=source.prototype)
                for place, source in enumerate(kept)
            ),
            classifier=None,
            optimizer=None,
            average=None,
            edits=tuple(edits),
        )
        new = self.directory.checkpoints / "edited.ckpt"
        save_checkpoint(edited, new)
        sha256 = sha256_of(new)
        new.replace(self.directory.edited_file(sha256))
        return sha256

    def remove_others(self, sha256: str | None) -> None:
        """Remove edited networks that are not in force: they follow from the list."""
        for file in self.directory.checkpoints.glob("edited*.ckpt"):
            if sha256 is None or file != self.directory.edited_file(sha256):
                file.unlink()

    @cached_property
    def look(self) -> _Look:
        """What stands, looked at."""
        return _Look.at(self)


def _key(standing: Standing) -> tuple[object, ...]:
    """What the network follows from."""
    return (*standing.heirs.items(), None, *standing.labels.items())


def _is_edited(standing: Standing) -> bool:
    """Whether the network is another one than was trained."""
    return bool(standing.heirs or standing.labels)


def _directory(run: Run | str | Path) -> RunDirectory:
    """The folder of a run that was loaded, or that is there."""
    if not isinstance(run, Run):
        return RunDirectory.open(run)
    directory = RunDirectory.of_checkpoint(run.checkpoint)
    if directory is None:
        raise CheckpointError(
            f"{run.checkpoint} lies in no run directory; only the prototypes of a run can be edited."
        )
    return RunDirectory.open(directory.path)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise ConfigError("nobody is logged in; say who edits with --by NAME (in Python: by=).") from error


class _Look(NamedTuple):
    """The prototypes that stand, by their places in the edited network, and what speaks against them."""

    kept: list[int]
    """Their numbers in the trained network."""
    network: PrototypeNetwork
    sources: tuple[PrototypeSource, ...]
    weights: Float[np.ndarray, "p"]
    """For the class of each."""
    used: Int64[np.ndarray, "p"]
    """Training and validation images in whose evidence each is."""
    purity: Float[np.ndarray, "p"]
    on_object: tuple[float | None, ...]

    @classmethod
    def at(cls, desk: _Desk) -> _Look:
        standing, head = desk.standing, desk.head(desk.standing)
        kept, network = standing.kept, desk.network(standing, head)
        own = network.own_class
        sources = tuple(
            replace(desk.run.sources[number], prototype=place) for place, number in enumerate(kept)
        )
        weights = torch.where(own, network.class_weights(), -torch.inf).amax(dim=1).numpy()
        train = desk.tables["train"].of(kept)
        learned = [table.of(kept) for split, table in desk.tables.items() if split != "test"]
        return cls(
            kept,
            network,
            sources,
            weights,
            times_used(head, learned),
            _purity(own.numpy(), *train),
            object_shares(desk.run.images(desk.run.image_set.train), sources),
        )

    def candidates(self) -> list[PrunedPrototype]:
        """What may go, the surest first."""
        doubts = {
            "impure": sorted(np.flatnonzero(self.purity < PURE).tolist(), key=self.purity.__getitem__),
            "weightless": self._weightless(),
        }
        return find_candidates(self.network, self.sources, self.on_object, used=self.used, doubts=doubts)

    def against(self, place: int, reason: str, heir: int | None = None) -> str:
        """What speaks against a prototype, in words."""
        if heir is not None:
            one, other = self.sources[place], self.sources[heir]
            is_same = (one.image_id, one.cell) == (other.image_id, other.cell)
            return f"{'the same patch as' if is_same else 'nearly equal to'} {self.kept[heir]}"
        share = self.on_object[place]
        words = {
            "unused": "in the evidence of no training or validation image",
            "background": f"background ({percent(share or 0)} object)",
            "impure": f"impure ({percent(float(self.purity[place]))} of the nearest images are of its class)",
            "weightless": "without weight",
        }
        return words[reason]

    def flags(self) -> list[list[str]]:
        """What speaks against each."""
        found: list[list[str]] = [[] for _ in self.kept]
        prototypes = self.network.prototypes.detach().flatten(1).cpu().numpy()
        for pair in nearly_equal_pairs(prototypes, self.network.distance):
            for place, other in (pair, pair[::-1]):
                found[place].append(self.against(place, "", other))
        hidden = [
            place for place, share in enumerate(self.on_object) if share is not None and share < BACKGROUND
        ]
        impure = np.flatnonzero(self.purity < PURE).tolist()
        for reason, places in {
            "background": hidden,
            "impure": impure,
            "weightless": self._weightless(),
        }.items():
            for place in places:
                found[place].append(self.against(place, reason))
        return found

    def _weightless(self) -> list[int]:
        largest = np.abs(self.network.class_weights().numpy()).max(axis=1)
        return np.flatnonzero(largest < WEIGHTLESS * largest.max()).tolist()


def _purity(
    own_class: Bool[np.ndarray, "p c"], similarities: Float[Tensor, "n p"], labels: Int[Tensor, "n"]
) -> Float[np.ndarray, "p"]:
    """Share of the NEIGHBOURS nearest images, or as many as its class has, that are of its class."""
    owned = own_class.T[labels.numpy()]
    order = np.argsort(-similarities.numpy(), axis=0, kind="stable")
    sizes = np.clip(owned.sum(axis=0), 1, NEIGHBOURS)
    return np.array([owned[order[:size, place], place].mean() for place, size in enumerate(sizes)])


def _tables(run: Run, directory: RunDirectory, progress: Progress) -> Mapping[str, SimilarityTable]:
    """How similar the run's images are to its trained prototypes, by their split; computed once."""
    listed = read_manifest(directory.images_file) if is_there(directory.images_file) else {}
    images = run.image_set
    parts: dict[str, list[ImageRecord]] = {"train": [], "val": [], "test": []}
    for split, records in {"train": images.train, "test": images.test}.items():
        for record in records:
            if listed and record.image_id not in listed:
                continue  # debug mode takes some only
            parts[listed[record.image_id].split if listed else split].append(record)
    parts = {split: records for split, records in parts.items() if records}
    if "train" not in parts or "test" not in parts:
        raise DataError(f"{images.root} lacks the training or the test images of {directory.path}.")
    names = [[split, one.image_id, one.path.stat().st_size] for split in parts for one in parts[split]]
    of = {
        "trained": sha256_of(run.checkpoint),
        "images": hashlib.sha256(json.dumps(names).encode()).hexdigest(),
    }
    file = directory.similarities_file
    if kept := _read_tables(file, of):
        return kept
    accelerator = make_execution(replace(run.config, gpus=None)).accelerator
    run.network.to(accelerator.device)
    tables, done, total = dict[str, SimilarityTable](), 0, len(names)
    for split, records in parts.items():
        batches = loader(
            run.images(records),
            batch_size=BATCH,
            shuffle=False,
            seed=0,
            epoch=0,
            workers=run.config.dataset.workers,
        )
        table = similarity_table(
            run.network,
            _told(batches, done, total, progress),
            num_images=len(records),
            accelerator=accelerator,
        )
        tables[split], done = SimilarityTable(*(tensor.cpu() for tensor in table)), done + len(records)
    run.network.cpu()
    tensors = {
        f"{split}.{name}": one for split, table in tables.items() for name, one in table._asdict().items()
    }
    try:
        write_atomically(file, lambda stream: stream.write(save(tensors, metadata=of)))
    except FileError as error:
        _logger.warning("the similarities are not kept: %s", error)
    return tables


def _told(batches: Iterable[Sample], done: int, total: int, progress: Progress) -> Iterator[Sample]:
    for batch in batches:
        yield batch
        done += len(torch.as_tensor(batch.label))
        progress(done, total, "looking at the images")


def _read_tables(file: Path, of: Mapping[str, str]) -> dict[str, SimilarityTable]:
    """The tables in a file; none where it is missing, damaged, or of another network or other images."""
    if not file.is_file():
        return {}
    try:
        with safe_open(file, "pt") as kept:
            if kept.metadata() != dict(of):
                return {}
            splits = dict.fromkeys(name.partition(".")[0] for name in [*kept.keys()])
            return {
                split: SimilarityTable(
                    *(kept.get_tensor(f"{split}.{name}") for name in SimilarityTable._fields)
                )
                for split in splits
            }
    except (SafetensorError, OSError) as error:
        _logger.warning("%s is damaged (%s) and made anew", file, error)
        return {}
