"""Small copies of the layouts in which the public data sets come."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SYNSETS = (
    *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
    *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
)
CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van 2012")
CIFAR = ("airplane", "automobile", "bird", "cat")


def write_image(path: Path, *, size: tuple[int, int] = (40, 32), mode: str = "RGB", seed: int = 0) -> Path:
    """Noise of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, *path.name.encode()])
    pixels = rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def write_layout(
    root: Path, *, classes: int = 3, train: int = 4, test: int = 2, size: tuple[int, int] = (40, 32)
) -> Path:
    """A folder in the layout of CUB-200-2011: noise, a box and three parts per image."""
    rng = np.random.default_rng(0)
    width, height = size
    tables: dict[str, list[str]] = {
        "images.txt": [],
        "image_class_labels.txt": [],
        "train_test_split.txt": [],
        "bounding_boxes.txt": [],
        "parts/part_locs.txt": [],
    }
    image = 0
    for label in range(1, classes + 1):
        folder = f"{label:03d}.Class {label}"
        (root / "images" / folder).mkdir(parents=True)
        for number in range(train + test):
            image += 1
            path = f"{folder}/bird {number}.png"
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / path)
            tables["images.txt"].append(f"{image} {path}")
            tables["image_class_labels.txt"].append(f"{image} {label}")
            tables["train_test_split.txt"].append(f"{image} {int(number < train)}")
            tables["bounding_boxes.txt"].append(f"{image} 4.0 6.0 {width - 10}.0 {height - 12}.0")
            tables["parts/part_locs.txt"] += [f"{image} 1 10.0 12.5 1", f"{image} 2 0.0 0.0 0"]
    tables["classes.txt"] = [f"{label} {label:03d}.Class {label}" for label in range(1, classes + 1)]
    tables["parts/parts.txt"] = ["1 beak", "2 left eye", "3 tail"]
    (root / "parts").mkdir()
    for name, lines in tables.items():
        (root / name).write_text("\n".join(lines) + "\n")
    return root


def write_tree(
    root: Path, splits: Iterable[str], classes: Iterable[str], count: int, *, suffix: str = ".png"
) -> Path:
    """`<split>/<class>/<number>`; a split "" is the root itself."""
    for split in splits:
        for name in classes:
            for number in range(count):
                write_image(root / split / name / f"{split or 'x'}{number}{suffix}")
    return root


def write_table(root: Path, images: Iterable[str], text: str, *, name: str = "labels.csv") -> Path:
    """Images by their paths, and a table beside them."""
    for image in images:
        write_image(root / image)
    (root / name).write_text(text, encoding="utf-8")
    return root


def write_lesions(root: Path) -> Path:
    """The layout of HAM10000: two flat folders, and a table of which several images may show one lesion."""
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    images = []
    for number in range(24):
        name = f"ISIC_{number:07d}"
        lines.append(
            f"HAM_{number // 2:07d},{name},{('nv', 'mel', 'bkl')[number // 2 % 3]},histo,80.0,male,scalp"
        )
        images.append(f"part_{1 + number % 2}/{name}.jpg")
    return write_table(root, images, "\n".join(lines) + "\n", name="HAM10000_metadata.csv")


def car_entries(split: str, count: int) -> list[dict[str, object]]:
    """Annotations as the authors' files have them: pixels from 1, the last one included."""
    entries = []
    for number in range(len(CARS) * count):
        box = {"bbox_x1": 3, "bbox_y1": 5, "bbox_x2": 30, "bbox_y2": 20 + number % 3}
        entries.append({**box, "class": 1 + number % len(CARS), "fname": f"{number + 1:05d}.jpg"})
    return entries


def as_struct(entries: Sequence[dict[str, object]]) -> np.ndarray:
    """A MATLAB array of structures."""
    fields = [(name, object) for name in entries[0]]
    return np.array([tuple(entry.values()) for entry in entries], dtype=fields)[None]


def write_devkit(root: Path, *, count: int = 3, labels_beside: bool = False) -> Path:
    """The authors' layout of Stanford Cars."""
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array([CARS], dtype=object)})
    for split in ("train", "test"):
        entries = car_entries(split, count)
        for entry in entries:
            write_image(root / f"cars_{split}" / str(entry["fname"]))
        name = "cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"
        place = root if labels_beside and split == "test" else root / "devkit"
        savemat(place / name, {"annotations": as_struct(entries)})
    return root


def write_car_table(root: Path, *, count: int = 4) -> Path:
    """The authors' other layout: all images in one folder and one table."""
    entries = []
    for number, entry in enumerate(car_entries("train", count)):
        path = f"car_ims/{number + 1:06d}.jpg"
        write_image(root / path)
        box = {name: value for name, value in entry.items() if name.startswith("bbox")}
        entries.append({"relative_im_path": path, **box, "class": entry["class"], "test": int(number % 2)})
    names = np.array([CARS], dtype=object)
    savemat(root / "cars_annos.mat", {"annotations": as_struct(entries), "class_names": names})
    return root


def write_cifar10(root: Path, *, per_batch: int = 8) -> Path:
    """`cifar-10-batches-py`, of few images and classes."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for seed, name in enumerate(names):
        data = np.random.default_rng(seed).integers(0, 256, (per_batch, 3072), dtype=np.uint8)
        labels = [number % len(CIFAR) for number in range(per_batch)]
        with (folder / name).open("wb") as file:
            pickle.dump({"batch_label": name, "labels": labels, "data": data}, file, protocol=2)
    with (folder / "batches.meta").open("wb") as file:
        pickle.dump({"label_names": list(CIFAR), "num_vis": 3072}, file, protocol=2)
    return folder


def write_funnybirds(root: Path, *, classes: int = 2, train: int = 4, test: int = 2) -> Path:
    """FunnyBirds as it is published: a beak of 4 x 4 pixels at (10, 6) and a foot of 5 pixels."""
    for split, count in (("train", train), ("test", test)):
        entries = [
            {"class_idx": number % classes, "beak_model": "beak01.glb"} for number in range(count * classes)
        ]
        for number, entry in enumerate(entries):
            path = f"{entry['class_idx']}/{number:06d}.png"
            write_image(root / split / path)
            part_map = np.zeros((32, 40, 3), dtype=np.uint8)
            part_map[6:10, 10:14] = (255, 255, 0)
            part_map[20, 5:10] = (255, 0, 1)
            (root / f"{split}_part_map" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part_map).save(root / f"{split}_part_map" / path)
        (root / f"dataset_{split}.json").write_text(json.dumps(entries))
    (root / "classes.json").write_text(
        json.dumps([{"class_idx": label, "parts": {"beak": label}} for label in range(classes)])
    )
    (root / "parts.json").write_text("{}")
    return root


def packed(folder: Path, inner: str) -> bytes:
    """A .tgz file of a folder, under another name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, inner)
    return buffer.getvalue()
