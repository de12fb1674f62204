"""Reader of images whose classes stand in a table, one line for each, perhaps with split, group and box.

The table lies beside the images or above them. Its columns are guessed by their usual names, and what was
guessed is said; `dataset.columns image=file,label=dx` says otherwise. Images are named with or without suffix
and folders. Where no column tells the split, a share of each class is set aside for the test as from folders.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixpnet.choices import choose
from pixpnet.config import DatasetConfig
from pixpnet.data.annotations import BOXES, MASKS, PARTS, annotated
from pixpnet.data.listing import below, entries, folders_in, loose_pictures, pictures_below, plain
from pixpnet.data.shares import set_aside
from pixpnet.data.spec import DatasetSpec, ImageSet
from pixpnet.data.tables import Names, TableLine, box_columns, csv_columns, read_csv
from pixpnet.errors import ConfigError, DataError, MissingDataError
from pixpnet.types import ImageRecord, Progress

_logger = logging.getLogger(__name__)

_NAMES = {
    "image": "image file filename file_name path filepath file_path filepaths image_path image_file "
    "image_name image_id img img_path img_name isic_id photo picture id name",
    "label": "label labels class class_name classname category category_name species dx diagnosis target "
    "breed variety disease finding label_name class_id category_id",
    "split": "split set data_set dataset subset partition",
    "group": "group group_id patient patient_id subject subject_id case_id lesion lesion_id individual "
    "individual_id animal_id camera camera_id sequence sequence_id seq_id",
}
_USUAL = {role: names.split() for role, names in _NAMES.items()}
"""Names of columns for each role; of several that a table has, the first counts."""
_SPLITS = dict.fromkeys(("train", "training"), "train") | dict.fromkeys(("test", "testing"), "test")
_SPLITS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")


@dataclass(frozen=True)
class LabelTable:
    """A table of labels, and which column of it is what."""

    path: Path
    columns: Mapping[str, str]
    """Role ("image", "label", perhaps "split" and "group") -> column."""
    box: tuple[str, ...] = ()
    """The columns of a box, if there are any."""

    def said(self) -> str:
        """What is read from which column."""
        return ", ".join(
            [*(f"{role} from {name}" for role, name in self.columns.items())]
            + ([f"box from {' '.join(self.box)}"] if self.box else [])
        )


def open_csv(spec: DatasetSpec, config: DatasetConfig, progress: Progress) -> ImageSet:
    """Images whose labels stand in a table in `dataset.root`, in its folder `csv`, or in its only folder.

    Raises:
        ConfigError: A role that there is not.
        DataError: No table or several, no such column, an image without a file or with two, a split of no
            known name; or as `annotated`.
    """
    root = Path(config.root)
    inner = folders_in(root)
    for place in (root, root / spec.folder, *(inner.values() if len(inner) == 1 else ())):
        tables, others = _tables(place, config)
        if len(tables) > 1:
            names = ", ".join(table.path.name for table in tables)
            raise DataError(f"{place} has several tables of labels ({names}); name one as dataset.table.")
        if tables:
            return _read(tables[0], spec, config)
        if others:
            raise others[0]
    wanted = f"the table {config.table}" if config.table else "a CSV file"
    raise MissingDataError(f"{spec.name} was not found: looked for {wanted} in {root}. {spec.source}")


def check_folders(images: ImageSet) -> None:
    """Hold the classes of a tree of folders against a table of labels that lies in its root.

    Raises:
        DataError: The table has most of the images, in other classes: then the folders may be no classes.
    """
    labels = {record.image_id: record.label for record in (*images.train, *images.test)}
    names = Names(labels)
    for table in _tables(images.root, DatasetConfig())[0]:
        try:
            rows = read_csv(table.path)
        except DataError as error:
            _logger.debug("%s", error)
            continue
        found = [(row, names.find(row.fields[table.columns["image"]])) for row in rows]
        found = [(row, meant[0]) for row, meant in found if len(meant) == 1]
        pairs = {(labels[name], row.fields[table.columns["label"]]) for row, name in found}
        folders, classes = ({pair[side] for pair in pairs} for side in (0, 1))
        if 2 * len(found) > len(labels) and not len(pairs) == len(folders) == len(classes):
            shown = ", ".join(images.class_names[:3])
            raise DataError(
                f"{table.path} gives the images other classes than the folders they lie in ({shown}): "
                f"{table.said()}. Take --dataset.name csv to read the classes from the table; if the folders "
                "are the classes, move the table elsewhere."
            )


def _tables(place: Path, config: DatasetConfig) -> tuple[list[LabelTable], list[DataError]]:
    """The tables of labels in a folder, and why other tables are none."""
    paths = [place / config.table] if config.table else []
    for entry in entries(place) if place.is_dir() and not paths else ():
        is_table = entry.name.lower().endswith((".csv", ".tsv")) and entry.is_file()
        if is_table and entry.name not in (BOXES, PARTS):
            paths.append(place / entry.name)
    tables, others = [], []
    for path in paths:
        try:
            if path.is_file():
                tables.append(_understood(path, config))
        except DataError as error:
            others.append(error)
    return tables, others


def _understood(path: Path, config: DatasetConfig) -> LabelTable:
    """A table with its columns, as they are said or guessed.

    Raises:
        ConfigError: A role that there is not.
        DataError: There is no such column, or none for image or label.
    """
    names = {re.sub(r"[ -]+", "_", name): name for name in csv_columns(path) if name}
    if not names:
        raise DataError(f"{path} is empty; wanted a header, and a line for each image.")
    columns = {
        role: next((names[name] for name in usual if name in names), None) for role, usual in _USUAL.items()
    }
    for role, name in _said(config).items():
        columns[role] = name.lower() if name.lower() in names.values() else None
        if columns[role] is None:
            raise DataError(f"{path} has no column {name!r} for {role}; it has {', '.join(names.values())}.")
    if config.group_by == "none":
        columns["group"] = None
    for role in ("image", "label"):
        if columns[role] is None:
            raise DataError(
                f"{path} has no column with a usual name for the {role} ({', '.join(_USUAL[role][:5])}, …), "
                f"only {', '.join(names.values())[:300]}; give dataset.columns {role}=<column>."
            )
    chosen = {role: name for role, name in columns.items() if name is not None}
    return LabelTable(path, chosen, box_columns(names.values()))


def _said(config: DatasetConfig) -> dict[str, str]:
    """Role -> column, as `dataset.columns` and `dataset.group-by` name them."""
    said = {}
    roles = {role: role for role in _USUAL if role != "group"}
    for part in (config.columns or "").split(","):
        if part.strip():
            role, _, name = (text.strip() for text in part.partition("="))
            if not name:
                raise ConfigError(
                    f"dataset.columns is {config.columns!r}; give image=<column>,label=<column>."
                )
            said[choose(roles, role, what="dataset.columns: role")] = name
    if config.group_by not in (None, "none"):
        said["group"] = config.group_by
    return said


def _read(table: LabelTable, spec: DatasetSpec, config: DatasetConfig) -> ImageSet:
    root = table.path.parent
    rows = read_csv(table.path, tuple(table.columns.values()))
    _logger.info("%s: %s (else: dataset.columns, dataset.group-by)", table.path, table.said())
    left_out: Counter[str] = Counter()
    paths = _pictures(root, left_out)
    found = _matched(rows, table, paths, config, left_out)
    left_out["without a line in the table"] = len(paths) - len(found)
    class_names = _class_names([_label(row, table) for row in found.values()])
    label_of = {name: label for label, name in enumerate(class_names)}
    parts: dict[str, list[ImageRecord]] = {split: [] for split in ("train", "test", "validation")}
    for name, row in found.items():
        group = plain(row.fields[table.columns["group"]]) if "group" in table.columns else ""
        record = ImageRecord(
            name, paths[name], label_of[_label(row, table)], box=row.box(table.box), group=group or None
        )
        parts[_split(row, table)].append(record)
    train, test = _train_and_test(table, parts, config)
    filled = {record.label for record in train}
    for label, name in enumerate(class_names):
        if label not in filled:
            raise DataError(f"{table.path}: no image of class {name} is for training.")
    images = ImageSet(spec, root, class_names, train=train, test=test, left_out=+left_out)
    return annotated(images)


def _pictures(root: Path, left_out: Counter[str]) -> dict[str, Path]:
    paths = [root / name for name in loose_pictures(root)]
    for name, folder in folders_in(root).items():
        if name != MASKS:
            paths += pictures_below(folder, left_out)
    return below(root, paths)


def _matched(
    rows: Sequence[TableLine],
    table: LabelTable,
    paths: Mapping[str, Path],
    config: DatasetConfig,
    left_out: Counter[str],
) -> dict[str, TableLine]:
    """The line of each image that has one, by the image's name."""
    root, names = table.path.parent, Names(paths)
    found: dict[str, TableLine] = {}
    missing = []
    for row in rows:
        text = row.fields[table.columns["image"]]
        meant = names.find(text)
        if len(meant) > 1:
            raise row.error(f"{text} is {meant[0]} or {meant[1]}; name images by their path below {root}.")
        if not meant:
            missing.append(row)
        elif meant[0] in found:
            raise row.error(f"{text} again; it stands on line {found[meant[0]].number} already.")
        else:
            found[meant[0]] = row
    if missing:
        text = missing[0].fields[table.columns["image"]]
        which = f"there is no image {text!r} below {root}"
        if not found:
            raise missing[0].error(
                f"{which}, nor any of the others. Is {table.columns['image']} the column of the images "
                "(else: dataset.columns image=<column>), and are they below the table's folder?"
            )
        if config.on_unreadable == "error":
            raise missing[0].error(
                f"{which}, and {len(missing)} of {len(rows)} are missing (dataset.on-unreadable skip leaves "
                "them out)."
            )
        left_out["missing, though the table names them"] = len(missing)
    if not found:
        raise DataError(f"{table.path} has no line below its header.")
    return dict(sorted(found.items()))


def _train_and_test(
    table: LabelTable, parts: Mapping[str, Sequence[ImageRecord]], config: DatasetConfig
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """The images of both sides, as the table says or a share for the test."""
    train, test = (tuple(parts[split]) for split in ("train", "test"))
    if test and parts["validation"]:
        _logger.warning(
            "%s: %d validation images are left aside (dataset.val-size takes some from the training images)",
            table.path,
            len(parts["validation"]),
        )
    test = test or tuple(parts["validation"])
    if not test:
        every = train
        train, test = set_aside(every, share=config.test_size, seed=config.seed)
        if not test:
            group = table.columns.get("group")
            whole = (
                f": groups stay whole ({group}; dataset.group-by none lets them be divided)" if group else ""
            )
            raise DataError(f"{table.path} tells no test, and has too few images to set one aside{whole}.")
        _logger.info(
            "%s tells no test: %d of %d images are set aside for it (dataset.test-size, dataset.seed)",
            table.path,
            len(test),
            len(every),
        )
    return train, test


def _label(row: TableLine, table: LabelTable) -> str:
    label = plain(row.fields[table.columns["label"]])
    if not label:
        raise row.error(f"the {table.columns['label']} of {row.fields[table.columns['image']]} is empty.")
    return label


def _class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """In the order of the names, or of the numbers where all are numbers."""
    names = sorted(set(labels))
    are_numbers = all(re.fullmatch(r"-?\d+([.]\d*)?", name) for name in names)
    return tuple(sorted(names, key=float) if are_numbers else names)


def _split(row: TableLine, table: LabelTable) -> str:
    if "split" not in table.columns:
        return "train"
    text = row.fields[table.columns["split"]]
    if text.lower() not in _SPLITS:
        raise row.error(f"wanted {table.columns['split']} as one of {', '.join(_SPLITS)}, got {text!r}.")
    return _SPLITS[text.lower()]
