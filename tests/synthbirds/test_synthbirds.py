"""SynthBirds on disk: CUB's layout, and annotation that is true of the pixels."""

from __future__ import annotations

import hashlib
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixpnet.errors import ConfigError, DataError
from pixpnet.synthbirds import (
    COLOURS,
    GENERATOR_VERSION,
    PART_IDS,
    PARTS,
    UPRIGHT,
    Pose,
    catalogue,
    contact_sheet,
    is_rendered,
    min_pixels,
    render_dataset,
    render_picture,
)
from pixpnet.synthbirds.picture import FRAME, Patch, areas_of, part_of, part_points, set_stage, shows

ASKED: dict[str, Any] = {"classes": 7, "size": 128, "train_images": 4, "test_images": 2, "seed": 3}
SMALL: dict[str, Any] = {"classes": 2, "size": 32, "train_images": 2, "test_images": 1, "seed": 0}


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_dataset(tmp_path_factory.mktemp("data") / "synthbirds", **ASKED, workers=1)


def table(root: Path, name: str) -> list[list[str]]:
    return [line.split(" ") for line in (root / name).read_text("utf-8").splitlines()]


def images(root: Path) -> list[tuple[str, str, int]]:
    """Id, file and class of every image."""
    labels = {image: int(label) for image, label in table(root, "image_class_labels.txt")}
    return [(image, name, labels[image]) for image, name in table(root, "images.txt")]


def array(root: Path, kind: str, name: str) -> np.ndarray:
    return np.asarray(Image.open(root / kind / name))


def locations(root: Path) -> dict[str, dict[int, tuple[float, float, bool]]]:
    found: dict[str, dict[int, tuple[float, float, bool]]] = {}
    for image, part, x, y, visible in table(root, "parts/part_locs.txt"):
        found.setdefault(image, {})[int(part)] = (float(x), float(y), visible == "1")
    return found


def digest(root: Path, *, skip: tuple[str, ...] = ()) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in skip
    }


def test_layout_is_that_of_cub(birds: Path):
    names = [bird.name for bird in catalogue(7)]
    assert table(birds, "classes.txt") == [[str(i), f"{i:03d}.{name}"] for i, name in enumerate(names, 1)]
    assert [image for image, _, _ in images(birds)] == [str(i) for i in range(1, 7 * 6 + 1)]
    assert [label for _, _, label in images(birds)] == [c for c in range(1, 8) for _ in range(6)]
    assert [row[1] for row in table(birds, "train_test_split.txt")] == ["1", "1", "1", "1", "0", "0"] * 7
    parts = [line.split(" ", 1)[1] for line in (birds / "parts/parts.txt").read_text("utf-8").splitlines()]
    assert parts == list(PARTS)
    assert [row[:2] for row in table(birds, "parts/part_locs.txt")] == [
        [str(i), str(part)] for i in range(1, 43) for part in range(1, 16)
    ]
    for _, name, label in images(birds):
        assert name.split("/")[0] == f"{label:03d}.{names[label - 1]}"
        with Image.open(birds / "images" / name) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (128, 128))
        with Image.open(birds / "part_masks" / name) as mask:
            assert mask.mode == "P"
    files = {path.relative_to(birds / "images") for path in (birds / "images").rglob("*.png")}
    assert files == {Path(name) for _, name, _ in images(birds)}
    assert {path.name for path in birds.iterdir()} == {
        "images", "segmentations", "part_masks", "parts", "attributes.json", "images.txt", "classes.txt",
        "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt",
    }  # fmt: skip


def test_attributes_say_what_each_species_is_and_what_tells_pairs_apart(birds: Path):
    attributes = json.loads((birds / "attributes.json").read_text("utf-8"))
    assert attributes["parameters"] == ASKED
    assert attributes["generator_version"] == GENERATOR_VERSION
    assert attributes["min_pixels"] == 12
    species = attributes["species"]
    assert [species[str(i)]["name"] for i in range(1, 8)] == [bird.name for bird in catalogue(7)]
    for one, other in combinations(species, 2):
        mine, theirs = species[one]["parts"], species[other]["parts"]
        differing = [organ for organ in mine if mine[organ] != theirs[organ]]
        assert differing
        assert attributes["differences"][one][other] == differing
        assert attributes["differences"][other][one] == differing


def test_every_image_shows_what_tells_it_from_every_other_species(birds: Path):
    attributes = json.loads((birds / "attributes.json").read_text("utf-8"))
    for _, name, label in images(birds):
        areas = np.bincount(array(birds, "part_masks", name).ravel(), minlength=16)
        for other, organs in attributes["differences"][str(label)].items():
            shown = [max(areas[part] for part in attributes["part_ids"][organ]) for organ in organs]
            assert max(shown) >= attributes["min_pixels"], f"{name} could be species {other}"


def test_scenes_that_hide_the_label_are_drawn_again(monkeypatch: pytest.MonkeyPatch):
    """Behind thick leaves, most first draws fail; what is returned must not."""
    drawn = []

    def hiding_half(setting, pose, rng):
        corner = rng.uniform(-FRAME / 2, FRAME, 2)
        square = np.array([[0, 0], [FRAME, 0], [FRAME, FRAME], [0, FRAME]]) * 0.8 + corner
        drawn.append(square)
        return [Patch(square, (40, 90, 40))]

    monkeypatch.setattr("pixpnet.synthbirds.picture.occluders", hiding_half)
    birds = catalogue(4)
    for seed in range(12):
        drawn.clear()
        label = seed % 4
        made = render_picture(4, label, size=128, rng=np.random.default_rng(seed))
        areas = np.bincount(made.part_mask.ravel(), minlength=16)
        for other in set(range(4)) - {label}:
            organs = [o for o, v in birds[label].variants.items() if v != birds[other].variants[o]]
            assert max(areas[part] for o in organs for part in PART_IDS[o]) >= 12
        if len(drawn) > 1:
            return
    pytest.fail("no scene was ever drawn again")


def test_visible_points_lie_on_their_part_and_invisible_parts_do_not_show(birds: Path):
    points = locations(birds)
    hidden = 0
    for image, name, _ in images(birds):
        mask = array(birds, "part_masks", name)
        for part, (x, y, visible) in points[image].items():
            if visible:
                assert mask[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))] == part
            else:
                assert (x, y) == (0, 0)
                assert (mask == part).sum() < min_pixels(128) / 4
                hidden += 1
    assert hidden > 3 * len(images(birds)) * 0.6, "two parts are always on the far side"


def test_only_the_near_side_shows(birds: Path):
    points = locations(birds)
    sides = set()
    for image, name, _ in images(birds):
        ids = set(np.unique(array(birds, "part_masks", name)).tolist())
        assert not ({7, 9} & ids and {11, 13} & ids), "an eye or wing of both sides"
        if points[image][2][2] and points[image][14][2]:
            looks_right = points[image][2][0] > points[image][14][0]
            assert ids & ({11, 13} if looks_right else {7, 9}), "beak to the right: the right side is near"
            sides.add(looks_right)
    assert sides == {True, False}


def test_masks_and_boxes_agree(birds: Path):
    boxes = {row[0]: [float(value) for value in row[1:]] for row in table(birds, "bounding_boxes.txt")}
    for image, name, _ in images(birds):
        bird = array(birds, "segmentations", name)
        assert set(np.unique(bird)) == {0, 255}
        parts = array(birds, "part_masks", name)
        assert (bird[parts > 0] == 255).all()
        assert 0 < ((bird > 0) & (parts == 0)).sum() < (parts > 0).sum(), (
            "the cheek is of the bird, but no part"
        )
        rows, columns = np.nonzero(bird)
        x, y, width, height = boxes[image]
        assert (columns.min(), rows.min()) == (x, y)
        assert (columns.max() + 1, rows.max() + 1) == (x + width, y + height)


def test_masks_lie_where_the_image_shows_the_part(birds: Path):
    """Under the masks most napes have their species' colour, whatever the light; under mirrored masks few."""
    names, values = list(COLOURS), np.array(list(COLOURS.values()), float)

    def named_right(pixels: np.ndarray, colour: str) -> bool:
        return names[np.linalg.norm(values - np.median(pixels, axis=0), axis=1).argmin()] == colour

    straight, mirrored = [], []
    for _, name, label in images(birds):
        pixels, nape = (
            array(birds, "images", name),
            array(birds, "part_masks", name) == PARTS.index("nape") + 1,
        )
        colour = catalogue(7)[label - 1].variants["nape"].colour
        if nape.sum() > 12:
            straight.append(named_right(pixels[nape], colour))
            mirrored.append(named_right(pixels[nape[:, ::-1]], colour))
    assert len(straight) > 30
    assert np.mean(straight) > 0.6
    assert np.mean(mirrored) < 0.3


def upright_stage(pose: Pose = UPRIGHT, front: list[Patch] | None = None):
    return set_stage(catalogue(1)[0], pose, size=128, behind=[], front=front or [])


def seen(stage, pose: Pose) -> dict[str, bool]:
    return dict(zip(PARTS, part_points(stage, pose)[1].tolist(), strict=True))


def test_a_bird_by_itself_shows_every_part_of_its_near_side():
    assert {part for part, shows in seen(upright_stage(), UPRIGHT).items() if not shows} == {
        "left eye",
        "left wing",
    }


def test_what_is_covered_is_not_visible():
    right = np.nonzero(upright_stage().parts == PARTS.index("tail") + 1)[1].max() + 1
    leaf = np.array([[0, 60], [right, 60], [right, 128], [0, 128]])
    shows = seen(upright_stage(front=[Patch(leaf, (1, 2, 3))]), UPRIGHT)
    assert not shows["tail"]
    assert shows["beak"]
    assert shows["right wing"]


@pytest.mark.parametrize(("hidden", "enough"), [(0.0, True), (0.15, True), (0.4, False)])
def test_a_part_shows_only_if_most_of_it_does(hidden: float, enough: bool):
    whole = upright_stage().parts
    columns = np.nonzero(whole == PARTS.index("tail") + 1)[1]
    edge = np.quantile(columns, hidden)
    leaf = np.array([[-1, 60], [edge, 60], [edge, 128], [-1, 128]])
    areas = areas_of(upright_stage(front=[Patch(leaf, (1, 2, 3))]).parts)
    assert shows(catalogue(1)[0], "tail", areas=areas, pose=UPRIGHT, size=128) == enough
    assert shows(catalogue(1)[0], "beak", areas=areas, pose=UPRIGHT, size=128)


def test_a_part_of_few_pixels_does_not_show():
    far = Pose((64.0, 64.0), 0.2, 0.0, mirrored=False, limbs=UPRIGHT.limbs)
    areas = areas_of(upright_stage(far).parts)
    assert 0 < areas[PARTS.index("right eye") + 1] < 12
    assert not shows(catalogue(1)[0], "eye", areas=areas, pose=far, size=128)
    assert shows(catalogue(1)[0], "wing", areas=areas, pose=far, size=128)


def test_a_point_under_a_leaf_moves_to_where_its_part_still_shows():
    x, y = part_points(upright_stage(), UPRIGHT)[0][PARTS.index("right wing")] + 0.5
    leaf = np.array([[x - 3, y - 3], [x + 3, y - 3], [x + 3, y + 3], [x - 3, y + 3]])
    stage = upright_stage(front=[Patch(leaf, (1, 2, 3))])
    points, visible = part_points(stage, UPRIGHT)
    moved = points[PARTS.index("right wing")]
    assert visible[PARTS.index("right wing")]
    assert 3 <= np.abs(moved + 0.5 - (x, y)).max() <= 6
    assert stage.parts[int(moved[1]), int(moved[0])] == PARTS.index("right wing") + 1


def test_what_is_outside_the_frame_is_not_visible():
    pose = Pose((20.0, 64.0), 1.0, 0.0, mirrored=False, limbs=UPRIGHT.limbs)
    shows = seen(upright_stage(pose), pose)
    assert not shows["tail"]
    assert shows["beak"]


def test_sides_swap_with_the_mirror():
    assert PARTS[part_of("eye", mirrored=False) - 1] == "right eye"
    assert PARTS[part_of("eye", mirrored=True) - 1] == "left eye"
    assert PARTS[part_of("far leg", mirrored=True) - 1] == "right leg"
    assert PARTS[part_of("tail", mirrored=True) - 1] == "tail"


@pytest.mark.parametrize("size", [32, 57, 200, 300])
def test_any_size(size: int):
    picture = render_picture(3, 1, size=size, rng=np.random.default_rng(0))
    assert picture.image.shape == (size, size, 3)
    assert picture.part_mask.shape == picture.segmentation.shape == (size, size)
    assert picture.image.std() > 10
    areas = np.bincount(picture.part_mask.ravel(), minlength=16)
    assert areas[1:].max() >= 4 * min_pixels(size)


def test_pictures_of_two_sizes_show_the_same_scene():
    large = render_picture(1, 0, size=256, rng=np.random.default_rng(5))
    small = render_picture(1, 0, size=128, rng=np.random.default_rng(5))
    shrunk = np.asarray(Image.fromarray(large.segmentation).convert("L").reduce(2)) > 127
    assert (shrunk == small.segmentation).mean() > 0.98


def test_the_same_seed_gives_the_same_files_on_any_number_of_workers(tmp_path: Path):
    asked: dict[str, Any] = {"classes": 3, "size": 32, "train_images": 20, "test_images": 4}
    first, second, other = (
        digest(render_dataset(tmp_path / str(i), **asked, seed=seed, workers=workers))
        for i, (seed, workers) in enumerate(((1, 1), (1, 3), (2, 1)))
    )
    assert first == second
    pictures = [name for name in first if name.startswith("images/")]
    assert len(pictures) == 72
    assert len({first[name] for name in pictures}) == 72
    assert not any(first[name] == other[name] for name in pictures)


def test_more_images_leave_the_first_as_they_are(tmp_path: Path):
    few = digest(render_dataset(tmp_path / "few", **SMALL))
    many = digest(render_dataset(tmp_path / "many", **{**SMALL, "train_images": 3}))
    pictures = {name: value for name, value in few.items() if name.endswith(".png")}
    assert len(pictures) == 3 * 6
    assert pictures.items() <= many.items()


def test_progress_counts_to_the_end(tmp_path: Path):
    calls: list[tuple[int, int]] = []
    render_dataset(
        tmp_path / "birds", **{**SMALL, "train_images": 11}, progress=lambda *call: calls.append(call)
    )
    assert calls == [(10, 24), (20, 24), (24, 24)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_rendering_leaves_nothing(tmp_path: Path, workers: int):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_dataset(
            tmp_path / "birds", **{**SMALL, "train_images": 40}, workers=workers, progress=interrupt
        )
    assert list(tmp_path.iterdir()) == []


def test_nothing_stands_at_the_root_before_all_is_written(tmp_path: Path):
    def look(done: int, total: int) -> None:
        assert not (tmp_path / "birds").exists()

    assert render_dataset(tmp_path / "birds", **SMALL, progress=look) == tmp_path / "birds"
    assert [path.name for path in tmp_path.iterdir()] == ["birds"]


def test_a_rendered_set_is_not_rendered_again(tmp_path: Path):
    root = render_dataset(tmp_path / "birds", **SMALL)
    assert is_rendered(root, **SMALL)
    assert not is_rendered(root, **{**SMALL, "seed": 1})
    (root / "images.txt").write_text("mine", "utf-8")
    render_dataset(root, **SMALL)
    assert (root / "images.txt").read_text("utf-8") == "mine"


def test_a_set_of_another_generator_is_not_taken_for_this_ones(tmp_path: Path):
    truth = render_dataset(tmp_path / "birds", **SMALL) / "attributes.json"
    attributes = json.loads(truth.read_text("utf-8"))
    truth.write_text(json.dumps({**attributes, "generator_version": GENERATOR_VERSION + 1}), "utf-8")
    assert not is_rendered(tmp_path / "birds", **SMALL)


def test_an_empty_folder_is_filled(tmp_path: Path):
    (tmp_path / "birds").mkdir()
    assert is_rendered(render_dataset(tmp_path / "birds", **SMALL), **SMALL)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"generator_version": 0}'])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, content: str):
    (tmp_path / "attributes.json").write_text(content, "utf-8")
    assert not is_rendered(tmp_path, **SMALL)
    with pytest.raises(
        DataError, match=r"holds something else than SynthBirds with classes=2, size=32.*seed=0"
    ):
        render_dataset(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["attributes.json"]


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(DataError, match=r"birds cannot be written .*; give a folder that can be"):
        render_dataset(tmp_path / "file" / "birds", **SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", 0), ("classes", 201), ("size", 0), ("size", 31), ("size", 5000), ("train_images", 0),
        ("test_images", -1), ("seed", -1), ("workers", -1),
    ],
)  # fmt: skip
def test_parameters_out_of_range(tmp_path: Path, name: str, value: int):
    with pytest.raises(ConfigError, match=f"{name} must be from .* not {value}"):
        render_dataset(tmp_path / "birds", **{**SMALL, name: value})
    assert list(tmp_path.iterdir()) == []


def test_a_contact_sheet_shows_the_first_image_of_each_class_first(birds: Path):
    sheet = contact_sheet(birds, columns=4, rows=2, cell=128, border=2)
    assert sheet.size == (4 * 130 + 2, 2 * 130 + 2)
    first, second = (array(birds, "images", images(birds)[i][1]) for i in (0, 6))
    assert (np.asarray(sheet)[2:130, 2:130] == first).all()
    assert (np.asarray(sheet)[2:130, 132:260] == second).all()
    assert contact_sheet(birds, columns=100, rows=1, cell=16).size == (42 * 20 + 4, 24)


def test_a_contact_sheet_of_something_else(tmp_path: Path):
    with pytest.raises(DataError, match="no folder of SynthBirds"):
        contact_sheet(tmp_path)
