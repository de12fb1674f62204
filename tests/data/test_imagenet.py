"""ImageNet and ImageNette: folders of synsets."""

import pytest
from real_layouts import SYNSETS, write_image, write_tree

from pixpnet.config import DatasetConfig
from pixpnet.data import DATASETS, find_dataset, read_dataset
from pixpnet.errors import DataError

FOLDERS = {"full": "imagenette2", "320px": "imagenette2-320", "160px": "imagenette2-160"}
NAMES = (
    *("tench", "English springer", "cassette player", "chain saw", "church", "French horn"),
    *("garbage truck", "gas pump", "golf ball", "parachute"),
)


def read(name, root, **options):
    return read_dataset(DatasetConfig(name=name, root=str(root), **options))


def test_a_few_synsets_are_named_by_their_folders(tmp_path):
    write_tree(tmp_path / "imagenet", ("train", "val"), ("n02", "n01"), 2, suffix=".JPEG")
    images = read("imagenet", tmp_path)
    assert images.class_names == ("n01", "n02")
    assert [record.image_id for record in images.test] == [
        *("val/n01/val0.JPEG", "val/n01/val1.JPEG", "val/n02/val0.JPEG", "val/n02/val1.JPEG"),
    ]
    assert [record.label for record in images.train] == [0, 0, 1, 1]


def test_a_thousand_synsets_have_torchvisions_names(tmp_path):
    for number in range(1000):
        for split in ("train", "val"):
            (tmp_path / split / f"n{number:08d}").mkdir(parents=True)
            (tmp_path / split / f"n{number:08d}" / "a.JPEG").touch()
    images = read("imagenet", tmp_path)
    assert (images.num_classes, len(images.train), len(images.test)) == (1000, 1000, 1000)
    assert images.class_names[0] == "tench"
    assert images.class_names[999] == "toilet tissue"
    assert images.train[999].label == 999


def test_a_heap_of_validation_images_is_told(tmp_path):
    write_tree(tmp_path, ("train",), SYNSETS, 1)
    write_image(tmp_path / "val" / "ILSVRC2012_val_00000001.png")
    for name in ("imagenet", "imagenette"):
        with pytest.raises(DataError, match=r"val holds images, wanted a folder of them for each synset"):
            read(name, tmp_path)


def test_a_synset_without_images(tmp_path):
    write_tree(tmp_path, ("train", "val"), SYNSETS, 1)
    (tmp_path / "train" / SYNSETS[3] / "train0.png").unlink()
    with pytest.raises(DataError, match="n03000684 holds no image"):
        read("imagenet", tmp_path)
    with pytest.raises(DataError, match=r"train/n03000684 holds no image"):
        read("imagenette", tmp_path)


@pytest.mark.parametrize(
    "place", ["", "imagenette", "imagenette2", "imagenette2-320", "imagenette/imagenette2-160", "imagenet"]
)
def test_the_ten_classes_come_from_any_folder(tmp_path, place):
    root = write_tree(tmp_path / place, ("train", "val"), ("n01", *SYNSETS), 2)
    images = read("imagenette", tmp_path)
    assert (images.root, images.class_names) == (root, NAMES)
    assert (len(images.train), len(images.test)) == (20, 20)
    assert images.train[-1].image_id == "train/n03888257/train1.png"
    assert images.train[-1].label == 9


def test_the_archive_that_is_asked_for(tmp_path):
    for size in ("", "-320", "-160"):
        write_tree(tmp_path / f"imagenette2{size}", ("train", "val"), SYNSETS, 1)
    assert read("imagenette", tmp_path).root.name == "imagenette2"
    assert read("imagenette", tmp_path, imagenette_size="320px").root.name == "imagenette2-320"
    assert read("imagenette", tmp_path, imagenette_size="160px").root.name == "imagenette2-160"


def test_a_class_is_missing(tmp_path):
    write_tree(tmp_path, ("train", "val"), SYNSETS[:7], 1)
    with pytest.raises(
        DataError, match=r"has 7 of ImageNette's ten folders; missing: n03425413 \(gas pump\)"
    ):
        read("imagenette", tmp_path)


def test_what_torchvision_knows_of_fastais_archives():
    spec = find_dataset("imagenette")
    urls = set()
    for size, folder in FOLDERS.items():
        archive = spec.archive(DatasetConfig(imagenette_size=size))
        assert (archive.folder, archive.file) == (folder, f"{folder}.tgz")
        assert len(archive.md5) == 32
        urls.add(archive.url)
    assert len(urls) == 3
    assert spec.archive(DatasetConfig()).file == "imagenette2.tgz"


def test_imagenet_is_not_downloaded(tmp_path):
    assert DATASETS["IMAGENET"].archive is None
    with pytest.raises(
        DataError, match=r"looked for train and val in .*image-net\.org; wanted are train/<syn"
    ):
        read("imagenet", tmp_path)
