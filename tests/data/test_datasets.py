"""The table of data sets, and where each is looked for."""

import subprocess
import sys

import pytest
from PIL import Image

from pixpnet.config import DatasetConfig
from pixpnet.data import DATASETS, find_dataset, read_dataset
from pixpnet.errors import ConfigError, DataError

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
def test_names_are_spelled_loosely(name):
    assert find_dataset(name) is DATASETS[name]
    assert find_dataset("-".join(name.lower())) is DATASETS[name]
    assert find_dataset("_".join(name)) is DATASETS[name]


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


def make_folder(root, tree):
    for path in tree:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / path)


def test_a_tree_of_folders(tmp_path):
    tree = ["train/cat/b.png", "train/cat/a.JPG", "train/ant/deep/c.png", "test/cat/d.png"]
    make_folder(tmp_path, tree)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".hidden").mkdir()
    images = read_dataset(DatasetConfig(name="folder", root=str(tmp_path)))
    assert images.class_names == ("ant", "cat")
    assert [(record.image_id, record.label) for record in images.train] == [
        ("train/ant/deep/c.png", 0),
        ("train/cat/a.JPG", 1),
        ("train/cat/b.png", 1),
    ]
    assert [record.path for record in images.test] == [tmp_path / "test" / "cat" / "d.png"]


def test_a_wrong_tree_of_folders(tmp_path):
    def read():
        return read_dataset(DatasetConfig(name="folder", root=str(tmp_path)))

    make_folder(tmp_path, ["train/a.png", "test/a.png"])
    with pytest.raises(DataError, match="train holds no folder; wanted one for each class"):
        read()
    make_folder(tmp_path, ["train/cat/a.png"])
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(DataError, match=r"train/dog holds no image \(of .*\.png"):
        read()
    make_folder(tmp_path, ["train/dog/a.png", "test/emu/a.png"])
    with pytest.raises(DataError, match=r"test/emu is a class that .*train does not have"):
        read()


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
