"""The table of data sets, and where each is looked for."""

import logging
import subprocess
import sys

import pytest
from dataset_tester import LAYOUTS, check_entry
from real_layouts import write_image, write_layout

from pixpnet.config import DatasetConfig
from pixpnet.data import DATASETS, DatasetSpec, ImageSet, find_dataset, find_root, read_dataset
from pixpnet.errors import ConfigError, DataError
from pixpnet.types import ImageRecord, Normalization

# Of the description of PixPNet 1.0.0: side of the input, classes, mean of red.
DESCRIBED = {
    "CUB200": (384, 200, 0.4862),
    "CUB200224": (224, 200, 0.4862),
    "CUB200BBOX": (384, 200, 0.4862),
    "CUB200224BBOX": (224, 200, 0.4862),
    "CARS224": (224, 196, 0.4708),
    "CIFAR10": (32, 10, 0.4914),
    "IMAGENET": (224, 1000, 0.485),
    "IMAGENETTE": (224, 10, 0.485),
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_sizes_of_the_described_sets(name):
    side, classes, red = DESCRIBED[name]
    spec = DATASETS[name]
    assert spec.image_size(None) == spec.image_size(side) == (side, side)
    assert (spec.num_classes, spec.normalization.mean[0]) == (classes, red)
    with pytest.raises(ConfigError, match=rf"dataset.size is 100, but {name} is always {side} pixels wide"):
        spec.geometry(100)


@pytest.mark.parametrize(("name", "side"), [("SYNTHBIRDS", 128), ("FUNNYBIRDS", 224), ("FOLDER", 224)])
def test_free_sizes(name, side):
    spec = DATASETS[name]
    assert spec.normalization is None
    assert spec.image_size(None) == (side, side)
    geometry = spec.geometry(96, crop_to_box=True)
    assert (geometry.to_box, geometry.resize, geometry.crop) == (True, 96, 96)
    with pytest.raises(ConfigError, match=r"dataset\.size is 0; give a positive number"):
        spec.geometry(0)


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_does_what_training_relies_on(tmp_path, name):
    assert name in LAYOUTS, f"dataset_tester.LAYOUTS has no writer of a small copy of {name}"
    check_entry(name, LAYOUTS[name], tmp_path)


def open_stripes(spec, config, progress):
    """An outsider's data set: what a user's own file would hold, with the record below."""
    root = find_root(spec, config)
    names = ("flat", "steep")
    records = {
        split: tuple(
            ImageRecord(f"{split}/{path.name}", path, names.index(path.stem.split("_")[0]))
            for path in sorted((root / split).glob("*.png"))
        )
        for split in ("learn", "try")
    }
    return ImageSet(spec, root, class_names=names, train=records["learn"], test=records["try"])


STRIPES = DatasetSpec(
    name="STRIPES", open=open_stripes, folder="stripes", markers=("learn", "try"), source="Paint some."
)


def write_stripes(root):
    for split in ("learn", "try"):
        for name in ("flat_1", "flat_2", "steep_1", "steep_2"):
            write_image(root / "stripes" / split / f"{name}.png")


def test_an_outsiders_entry_is_tested_by_adding_it(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "STRIPES", STRIPES)
    with pytest.raises(DataError, match=r"STRIPES was not found: looked for learn and try in .*Paint some"):
        read_dataset(DatasetConfig(name="stripes", root=str(tmp_path)))
    check_entry("STRIPES", write_stripes, tmp_path)


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(
        ConfigError, match=r"'cub201' is not known; did you mean CUB200.* There are CUB200, .*FOLDER"
    ):
        find_dataset("cub201")
    with pytest.raises(ConfigError, match=r"'MNIST' is not known. There are"):
        find_dataset("MNIST")


@pytest.mark.parametrize("name", ["CUB200", "CUB200224", "CUB200BBOX", "CUB200224BBOX"])
def test_variants_of_cub_share_a_folder(cub_folder, tmp_path, name):
    root = cub_folder("CUB_200_2011")
    for place in (tmp_path, root):
        images = read_dataset(DatasetConfig(name=name, root=str(place)))
        assert (images.name, images.root, images.num_classes) == (name, root, 3)


def test_other_sets_lie_in_a_folder_of_their_name(cub_folder, tmp_path):
    root = cub_folder("funnybirds")
    assert read_dataset(DatasetConfig(name="FunnyBirds", root=str(tmp_path))).root == root
    root = cub_folder("cub-layout")
    assert read_dataset(DatasetConfig(name="CUB_LAYOUT", root=str(tmp_path))).root == root


def test_another_number_of_classes_is_worth_a_warning(cub_folder, caplog):
    root = cub_folder()
    read_dataset(DatasetConfig(name="CUB200", root=str(root)))
    assert caplog.messages == [f"CUB200 has 200 classes, {root} holds 3."]
    caplog.clear()
    read_dataset(DatasetConfig(name="cub-layout", root=str(root)))
    assert caplog.messages == []


@pytest.mark.parametrize(
    "name", [name for name, spec in DATASETS.items() if spec.archive is None and name != "SYNTHBIRDS"]
)
def test_a_missing_set_says_where_it_was_looked_for(tmp_path, name):
    with pytest.raises(DataError) as raised:
        read_dataset(DatasetConfig(name=name, root=str(tmp_path)))
    message = str(raised.value)
    assert message.startswith(f"{name} was not found: looked for ")
    assert str(tmp_path) in message
    assert message.endswith(DATASETS[name].source)


def test_importing_the_table_of_names_does_not_import_torch():
    # A fresh process, since this one has everything.
    code = "import sys, pixpnet, pixpnet.data; assert 'torch' not in sys.modules and 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_package_does_not_have():
    import pixpnet.data

    for name in pixpnet.data.__all__:
        assert getattr(pixpnet.data, name).__class__ is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = pixpnet.data.nonsense


@pytest.mark.parametrize(
    ("name", "choice", "mean"),
    [
        ("CUB200", "own", (0.4862, 0.5005, 0.4334)),
        ("CUB200", "imagenet", (0.485, 0.456, 0.406)),
        ("CUB200", "measured", None),
        ("cub-layout", "own", None),
        ("cub-layout", "imagenet", (0.485, 0.456, 0.406)),
    ],
)
def test_normalisation(cub_folder, name, choice, mean):
    root = cub_folder()
    images = read_dataset(DatasetConfig(name=name, root=str(root), normalization=choice))
    found = images.spec.normalization
    assert (found and found.mean) == mean
    assert found is None or isinstance(found, Normalization)


@pytest.mark.parametrize("inner", ["CUB_200_2011", "CUB_200_2011/CUB_200_2011"])
def test_a_set_may_lie_one_folder_deeper(tmp_path, caplog, inner):
    caplog.set_level(logging.INFO, logger="pixpnet")
    root = write_layout(tmp_path / inner)
    assert read_dataset(DatasetConfig(name="CUB200", root=str(tmp_path))).root == root
    assert ("one folder deeper than usual" in caplog.text) == ("/" in inner)
