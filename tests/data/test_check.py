"""A check finds what is wrong with a data set, and its sheet shows boxes and parts where they are."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from real_layouts import write_image, write_table, write_tree

from pixpnet.config import DatasetConfig
from pixpnet.data import alike_sheet, annotated_sheet, check_dataset, open_splits, read_dataset
from pixpnet.errors import DataError


def read(root):
    return read_dataset(DatasetConfig(name="cub-layout", root=str(root)))


def paths(root):
    """The images' files in the order of images.txt."""
    return [
        root / "images" / line.split(" ", 1)[1] for line in (root / "images.txt").read_text().splitlines()
    ]


@pytest.fixture
def root(cub_folder):
    """3 classes; images 1 to 4, 7 to 10 and 13 to 16 are for training, the others for the test."""
    return cub_folder()


def test_a_sound_set(root):
    told = []
    found = check_dataset(read(root), progress=lambda done, total: told.append((done, total)))
    assert found.is_sound
    assert told == [(done, 18) for done in range(1, 19)]
    assert (found.damaged, found.leaked, found.repeated, found.outside) == ((), (), (), ())
    assert (found.class_counts("train"), found.class_counts("test")) == ([4, 4, 4], [2, 2, 2])
    assert found.part_visibility() == [("beak", 1.0), ("left eye", 0.0), ("tail", 0.0)]
    assert list(found.lines()) == [
        f"CUB-LAYOUT in {root}: 3 classes, 12 training and 6 test images",
        "images per class: 4 for training, 2 for the test",
        "visible parts: beak 100 %, left eye 0 %, tail 0 %",
        "images that cannot be read: none",
        "images in training and in the test: none",
        "images that stand twice in one of the two: none",
        "images of the same pixels in two classes: none",
        "images almost alike in training and in the test: none",
        "images with a box or a visible part beyond their edge: none",
    ]


def test_damaged_images_are_listed(root):
    files = paths(root)
    files[2].write_bytes(files[2].read_bytes()[:200])
    files[17].write_bytes(b"no image")
    found = check_dataset(read(root))
    assert not found.is_sound
    assert [str(files[number]) in text for number, text in zip((2, 17), found.damaged, strict=True)] == [
        True
    ] * 2


def test_damaged_masks_are_listed(root):
    mask = root / "segmentations" / paths(root)[2].relative_to(root / "images")
    mask.parent.mkdir(parents=True)
    Image.new("L", (40, 32), 255).save(mask)
    assert check_dataset(read(root)).is_sound
    Image.new("L", (32, 40), 255).save(mask)
    (text,) = check_dataset(read(root)).damaged
    assert f"{mask} is 32 x 40 pixels, its image" in text


def test_the_same_pixels_in_another_file_are_found(root):
    files = paths(root)
    Image.open(files[0]).save(files[4], compress_level=1)  # training and test, other bytes
    assert files[0].read_bytes() != files[4].read_bytes()
    Image.open(files[1]).save(files[2])  # twice in training
    Image.open(files[16]).save(files[17])  # twice in the test
    found = check_dataset(read(root))
    assert not found.is_sound
    assert found.leaked == (("1", "5"),)
    assert found.repeated == (("2", "3"), ("17", "18"))
    assert "images in training and in the test: 1 (1 = 5)" in found.lines()


def test_images_of_other_shape_are_not_the_same(root):
    files = paths(root)
    Image.new("RGB", (40, 32)).save(files[0])
    Image.new("RGB", (32, 40)).save(files[4])
    assert check_dataset(read(root)).leaked == ()


@pytest.mark.parametrize(
    ("table", "line", "wrong"),
    [
        ("bounding_boxes.txt", "3 4.0 6.0 30.0 20.0", "3 20.0 6.0 30.0 20.0"),
        ("parts/part_locs.txt", "3 1 10.0 12.5 1", "3 1 10.0 32.0 1"),
    ],
)
def test_what_lies_beyond_the_image_is_listed(root, table, line, wrong):
    text = (root / table).read_text()
    assert text.count(f"\n{line}\n") == 1
    (root / table).write_text(text.replace(f"\n{line}\n", f"\n{wrong}\n"))
    found = check_dataset(read(root))
    assert found.outside == ("3",)
    assert found.is_sound


def test_uneven_classes_and_many_findings_are_told(root):
    split = (root / "train_test_split.txt").read_text().replace("5 0\n6 0\n", "5 1\n6 1\n", 1)
    (root / "train_test_split.txt").write_text(split)
    for path in paths(root)[:7]:
        path.write_bytes(b"")
    lines = list(check_dataset(read(root)).lines())
    assert lines[1:6] == [
        "images per class: 4 to 6 for training, 0 to 2 for the test",
        "  training  test  class",
        "         4     2  002.Class 2",
        "         4     2  003.Class 3",
        "         6     0  001.Class 1",
    ]
    assert "classes without test images: 1 (001.Class 1)" in lines
    (damaged,) = [line for line in lines if line.startswith("images that cannot be read: 7 (")]
    assert damaged.count("; ") == 5
    assert damaged.endswith("; and 2 more)")


def test_the_sheet_shows_boxes_and_parts(root):
    for path in paths(root):
        Image.new("RGB", (40, 32), (0, 90, 0)).save(path)
    paths(root)[6].write_bytes(b"no image")
    sheet = np.asarray(annotated_sheet(read(root), columns=3, rows=2, cell=200))
    top, left = 6, 6  # the first cell: an image of 40 x 32 is 200 x 160 there, 20 pixels from the top
    cell = sheet[top : top + 200, left : left + 200].astype(int)
    green = (cell == (0, 90, 0)).all(2)
    assert green[25, 5]
    assert not green[:20].any()
    assert not green[180:].any()
    part = cell[20 + 13 * 5, 52]
    np.testing.assert_array_equal(part, (0xE6, 0x9F, 0x00))
    for edge in (20 + 6 * 5, 20 + 26 * 5):  # of the box from (4, 6) to (34, 26)
        assert (cell[edge, 30:160] == 255).all()
    for edge in (4 * 5, 34 * 5):
        assert (cell[60:140, edge] == 255).all()
    broken = sheet[top : top + 200, left + 206 : left + 406]
    assert (broken[100, 100] == (255, 0, 0)).all()


def test_a_sheet_takes_classes_in_turn_and_fits(cub_folder):
    root = cub_folder("other", classes=4, train=2, size=(10, 60))
    (root / "parts" / "part_locs.txt").unlink()
    (root / "parts" / "parts.txt").unlink()
    (root / "bounding_boxes.txt").unlink()
    for number, path in enumerate(paths(root)):
        Image.new("RGB", (10, 60), (number, 0, 200)).save(path)
    sheet = annotated_sheet(read(root), columns=6, rows=5, cell=60)
    assert sheet.size == (6 * 66 + 6, 2 * 82 + 6)
    shown = [sheet.getpixel((6 + 30 + place % 6 * 66, 6 + 30 + place // 6 * 82)) for place in range(8)]
    assert [colour[0] for colour in shown] == [0, 4, 8, 12, 1, 5, 9, 13]


def read_folder(root, **options):
    return read_dataset(DatasetConfig(**{"name": "folder", "root": str(root), **options}))


def test_the_same_pixels_in_two_classes_contradict(tmp_path):
    root = write_tree(tmp_path, ("train", "test"), ("ant", "cat"), 2)
    (root / "train/cat/x.png").write_bytes((root / "train/ant/train0.png").read_bytes())
    (root / "test/ant/y.png").write_bytes((root / "train/ant/train1.png").read_bytes())
    # the fixture gives both classes the same pixels
    for number, path in enumerate(
        sorted((root / "train/cat").glob("train*")) + sorted((root / "test/cat").glob("*"))
    ):
        write_image(path, seed=number + 1)
    found = check_dataset(read_folder(root))
    assert found.contradictory == (("train/ant/train0.png", "train/cat/x.png"),)
    assert found.repeated == found.contradictory
    assert found.leaked == (("train/ant/train1.png", "test/ant/y.png"),)
    assert found.faults() == [
        "0 damaged images, 1 in training and in the test, 1 of the same pixels in two classes"
    ]


def photo(seed, size=(120, 90)):
    """Something like a photograph: blurred spots, the larger the brighter."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize(
                size, Image.Resampling.BICUBIC
            ),
            dtype=float,
        )
        for side in (3, 6, 12, 24)
    ]
    return Image.fromarray(np.average(layers, axis=0, weights=(8, 4, 2, 1)).astype(np.uint8))


def saved(**options):
    def write(image, path):
        image.save(path, **options)

    return write


COPIES = {
    "as JPEG": saved(format="JPEG", quality=90),
    "as poor JPEG": saved(format="JPEG", quality=40),
    "as WebP": saved(format="WEBP", quality=70),
    "as GIF": saved(format="GIF"),
    "half as large": lambda image, path: image.resize((60, 45)).save(path, format="PNG"),
    "twice as large": lambda image, path: image.resize((240, 180)).save(path, format="PNG"),
    "of another shape": lambda image, path: image.resize((90, 90)).save(path, format="PNG"),
    "a little brighter": lambda image, path: (
        ImageEnhance.Brightness(image).enhance(1.1).save(path, format="PNG")
    ),
    "a pixel less": lambda image, path: image.crop((1, 1, 119, 89)).save(path, format="PNG"),
}
OTHERS = {
    "another picture": lambda image, path: photo(999).save(path, format="PNG"),
    "in other colours": lambda image, path: Image.merge("RGB", image.split()[::-1]).save(path, format="PNG"),
    "upside down": lambda image, path: image.rotate(180).save(path, format="PNG"),
    "half of it": lambda image, path: image.crop((0, 0, 60, 90)).save(path, format="PNG"),
    "its negative": lambda image, path: image.point(lambda value: 255 - value).save(path, format="PNG"),
    "nothing": lambda image, path: Image.new("RGB", (120, 90), "white").save(path, format="PNG"),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of photographs, and a flat picture on each side."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(12):
        path = root / ("train", "test")[number % 3 == 2] / ("ant", "cat")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(number).save(path)
    Image.new("RGB", (120, 90), (250, 250, 250)).save(root / "train/ant/flat.png")
    Image.new("RGB", (120, 90), (249, 250, 250)).save(root / "test/cat/flat.png")
    return root


@pytest.mark.parametrize("way", [*COPIES, *OTHERS])
def test_copies_that_are_almost_alike_are_found_and_others_are_not(photos, way):
    other = photos / "test/ant/other.dat"
    try:
        (COPIES | OTHERS)[way](photo(3), other)
        found = check_dataset(read_folder(photos))
    finally:
        other.unlink()
    pairs = [(one.image_id, two.image_id) for one, two, _ in found.alike]
    assert pairs == ([("train/cat/3.png", "test/ant/other.dat")] if way in COPIES else [])
    assert (found.is_sound, found.leaked) == (True, ())
    assert (alike_sheet(found) is not None) == bool(pairs)


def test_the_sheet_of_pairs_shows_the_most_alike_first(photos):
    others = [photos / f"test/ant/other{number}.jpg" for number in range(3)]
    try:
        for number, (quality, path) in enumerate(zip((25, 95, 60), others, strict=True)):
            photo(number * 3 + 1).save(path, quality=quality)
        found = check_dataset(read_folder(photos))
        sheet = alike_sheet(found, pairs=2, cell=100)
    finally:
        for path in others:
            path.unlink()
    assert [test.path.name for _, test, _ in found.alike] == ["other1.jpg", "other2.jpg", "other0.jpg"]
    assert [bits for _, _, bits in found.alike] == sorted(bits for _, _, bits in found.alike)
    assert sheet.size == (4 * 106 + 6, 122 + 6)
    shown = np.asarray(sheet, dtype=int)
    for place, number in enumerate((4, 4, 7, 7)):
        wanted = np.asarray(photo(number).resize((100, 75), Image.Resampling.BILINEAR), dtype=int)
        left = 6 + place * 106
        cell = shown[6 + 12 : 6 + 12 + 75, left : left + 100]
        assert abs(cell - wanted).mean() < 12


def test_what_stands_in_training_twice_is_no_pair(photos):
    other = photos / "train/ant/other.jpg"
    try:
        photo(3).save(other)
        assert check_dataset(read_folder(photos)).alike == ()
    finally:
        other.unlink()


def test_what_a_person_should_look_at_is_told(tmp_path):
    root = write_tree(tmp_path, ("train", "test"), ("ant", "cat"), 1)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        write_image(path, seed=number)
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.open(root / "train/ant/train0.png").save(root / "train/ant/turned.jpg", exif=tag)
    (root / "masks/train/ant").mkdir(parents=True)
    Image.new("L", (40, 32)).save(root / "masks/train/ant/train0.png")
    (root / "train/cat/film.mp4").touch()
    lines = list(check_dataset(read_folder(root)).lines())
    for wanted in (
        "files left out: 1 .mp4",
        "  -> read are AVIF, BMP, GIF, JPEG, JPEG2000, PNG, PPM, TIFF, WEBP; convert what should be",
        "images with an orientation tag: 1 (train/ant/turned.jpg)",
        "  -> boxes, parts and masks belong to the upright picture; dataset.orientation ignore",
        f"masks to look at (dataset.mask-label): 1 ({root / 'masks/train/ant/train0.png'} shows no object",
    ):
        assert [line for line in lines if line.startswith(wanted)], wanted


def test_groups_on_both_sides_are_told(tmp_path):
    files = [f"{number}.png" for number in range(8)]
    rows = (
        f"{file},{place % 2},{('train', 'test')[place > 3]},p{place % 5}\n"
        for place, file in enumerate(files)
    )
    write_table(tmp_path, files, "image,label,split,patient\n" + "".join(rows))
    lines = list(check_dataset(read_folder(tmp_path, name="csv")).lines())
    assert "groups in training and in the test: 3 (p0; p1; p2)" in lines


def test_uneven_classes_are_told(tmp_path):
    write_tree(tmp_path, ("train",), ("ant",), 2)
    write_tree(tmp_path, ("train",), ("cat",), 10)
    write_tree(tmp_path, ("test",), ("ant", "cat"), 1)
    lines = list(check_dataset(read_folder(tmp_path)).lines())
    assert [line for line in lines if line.startswith("uneven classes: cat has 10 training images, ant 2;")]


def test_of_many_classes_the_smallest_and_the_largest_are_shown(tmp_path):
    names = [f"c{number:02d}" for number in range(30)]
    for number, name in enumerate(names):
        (tmp_path / "train" / name).mkdir(parents=True)
        for image in range(1 + number // 10):
            Image.new("RGB", (2, 2), (number, image, 0)).save(tmp_path / "train" / name / f"{image}.png")
    write_tree(tmp_path, ("test",), names, 1)
    lines = list(check_dataset(read_folder(tmp_path)).lines())
    assert lines[2] == "  training  test  class, the smallest and the largest"
    assert [line.split()[-1] for line in lines[3:13]] == [*names[:5], *names[25:]]


DAMAGE = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "no picture": lambda path: path.write_text("<html>404</html>"),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("gone.png")),
}


@pytest.mark.parametrize("way", DAMAGE)
@pytest.mark.parametrize("cache", ["ram", "none"])
@pytest.mark.parametrize("image", ["test/ant/test0.png", "train/cat/train1.png"])
def test_unreadable_images_stop_before_training_or_are_left_out(tmp_path, caplog, image, cache, way):
    write_tree(tmp_path, ("train", "test"), ("ant", "cat"), 3)
    DAMAGE[way](tmp_path / image)
    options = {"size": 24, "val_size": 0, "cache": cache, "normalization": "imagenet"}
    config = DatasetConfig(name="folder", root=str(tmp_path), **options)
    if image.startswith("test"):
        with pytest.raises(DataError, match=f"{image} .*") as raised:
            open_splits(config, seed=0)
        assert str(raised.value).count(str(tmp_path)) == 1
    skipping = DatasetConfig(name="folder", root=str(tmp_path), on_unreadable="skip", **options)
    splits = open_splits(skipping, seed=0)
    ids = [record.image_id for part in (splits.train, splits.test) for record in part.records]
    assert (len(ids), image in ids) == (11, False)
    assert "1 images that cannot be read are left out: " in caplog.text
    assert f"{tmp_path / image} is " in caplog.text


def test_all_unreadable_images_are_counted(tmp_path, caplog):
    write_tree(tmp_path, ("train", "test"), ("ant", "cat"), 30)
    for path in (tmp_path / "test").rglob("*.png"):
        path.write_bytes(b"")
    config = DatasetConfig(name="folder", root=str(tmp_path), size=24, normalization="imagenet", cache="none")
    with pytest.raises(DataError, match=r"59 more test images are like this.*on-unreadable skip") as raised:
        open_splits(config, seed=0)
    assert "\n" not in str(raised.value)
    (tmp_path / "test/ant/test0.png").unlink()
    write_image(tmp_path / "test/ant/test0.png")
    open_splits(DatasetConfig(**{**vars(config), "on_unreadable": "skip"}), seed=0)
    assert "59 images that cannot be read are left out: " in caplog.text
    assert "and 39 more" in caplog.text
