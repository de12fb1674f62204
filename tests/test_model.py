"""One object: pictures of every kind give what their files give; what it says is what the functions say."""

from __future__ import annotations

import io
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image

import pixpnet
from pixpnet import ConfigError, DataError, Model
from pixpnet.explanation import draw_atlas, prototypes_of_class
from pixpnet.figures import png_bytes


@pytest.fixture(scope="module")
def model(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return pixpnet.load(shutil.copytree(tiny_run, tmp_path_factory.mktemp("model") / "run"))


@pytest.fixture(scope="module")
def tests_own(model: Model) -> list[Path]:
    return [record.path for record in model.image_set.test]


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger than the network's input, and no square."""
    path = tmp_path_factory.mktemp("photograph") / "one.png"
    noise = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    Image.fromarray(noise).resize((170, 120)).save(path)
    return path


KINDS = {
    "str": str,
    "Path": Path,
    "bytes": Path.read_bytes,
    "opened file": lambda path: io.BytesIO(path.read_bytes()),
    "Pillow": Image.open,
    "array": lambda path: np.asarray(Image.open(path)),
    "floats": lambda path: np.asarray(Image.open(path)) / 255,
    "tensor": lambda path: torch.tensor(np.asarray(Image.open(path))).movedim(-1, 0),
    "tensor of floats": lambda path: torch.tensor(np.asarray(Image.open(path))).movedim(-1, 0) / 255,
    "list": lambda path: [path],
    "iterator": lambda path: iter([str(path)]),
    "batch": lambda path: np.asarray(Image.open(path))[None],
    "batch of tensors": lambda path: torch.tensor(np.asarray(Image.open(path))).movedim(-1, 0)[None] / 255,
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_every_kind_are_read_as_their_file_is(model: Model, photograph: Path, kind: str) -> None:
    given = KINDS[kind](photograph)
    expected = model.transform(photograph)
    assert expected.shape == (1, model.network.num_prototypes)
    np.testing.assert_array_equal(model.transform(given), expected)
    given = KINDS[kind](photograph)
    (found,) = model.predict(given)
    assert found.error is None
    assert found.evidence == model.predict(photograph)[0].evidence
    if kind not in ("list", "iterator", "batch", "batch of tensors"):
        explained = model.explain(KINDS[kind](photograph))
        np.testing.assert_array_equal(explained.image, model.explain(photograph).image)
        assert explained.photograph is not None


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "CMYK", "P", "1", "I;16"])
def test_opened_pictures_of_every_mode_are_read_as_their_file_is(
    model: Model, photograph: Path, tmp_path: Path, mode: str
) -> None:
    picture = Image.open(photograph)
    if mode.endswith("A"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 16)
    picture = picture if picture.mode == mode else picture.convert(mode)
    path = tmp_path / ("one.tif" if mode == "CMYK" else "one.png")
    picture.save(path)
    expected = model.transform(path)
    np.testing.assert_array_equal(model.transform(picture), expected)
    if mode in ("RGBA", "L", "LA"):
        values = np.asarray(picture)
        values = values[..., None] if values.ndim == 2 else values
        np.testing.assert_array_equal(model.transform(values), expected)
        np.testing.assert_array_equal(model.transform(torch.tensor(values).movedim(-1, 0)), expected)


def test_floats_beyond_a_pictures_are_the_networks_own_input(model: Model, tests_own: list[Path]) -> None:
    seen = torch.stack([model.input_of(path) for path in tests_own[:3]])
    assert seen.min() < 0
    np.testing.assert_allclose(model.transform(seen), model.transform(tests_own[:3]), rtol=1e-4)
    with torch.no_grad():
        direct = model.network(seen).similarities.numpy()
    np.testing.assert_allclose(model.transform(seen), direct, rtol=1e-4)


def test_of_no_picture_there_is_nothing(model: Model) -> None:
    assert model.predict([]) == []
    assert model.transform([]).shape == (0, model.network.num_prototypes)
    assert model.transform(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, model.network.num_prototypes)
    with pytest.raises(DataError, match="0 pictures and 0 labels came"):
        model.score([], [])


WRONG = {
    "missing": ("none.png", "none.png is missing"),
    "folder": (".", "it is a folder"),
    "opened as text": (io.StringIO("text"), "the file is opened as text; open it with mode 'rb'"),
    "shape": (np.zeros((4, 4, 9), np.uint8), r"its shape is \[4, 4, 9\]"),
    "tensor with channels last": (torch.zeros(8, 8, 3), r"its shape is \[8, 3, 8\]"),
    "range": (np.full((4, 4, 3), 7.5), r"its floats are from 7.5 to 7.5; wanted them in \[0, 1\]"),
    "normalised in another size": (torch.full((3, 9, 9), -1.0), r"shape \(3, 9, 9\); wanted \(3, 64, 64\)"),
    "not finite": (torch.full((3, 64, 64), torch.nan), "values that are not finite"),
    "text": (b"GIF, but not really", "it holds none of AVIF"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_picture_is_said_in_a_sentence(model: Model, tests_own: list[Path], kind: str) -> None:
    wrong, said = WRONG[kind]
    for ask in (model.explain, model.transform, lambda one: model.score([one], [0])):
        with pytest.raises(DataError, match=said):
            ask([wrong] if ask == model.transform else wrong)
    first, second = model.predict([wrong, tests_own[0]])
    assert first.predicted is None
    assert second.error is None


def test_it_says_what_the_functions_say(model: Model, tests_own: list[Path]) -> None:
    assert model.predict(tests_own, top_k=2) == list(pixpnet.predict(model, tests_own, top_k=2))
    assert model.explain(tests_own[0]).to_dict() == pixpnet.explain(model, tests_own[0]).to_dict()
    assert [one.error for one in pixpnet.Model.load(model.checkpoint).predict(tests_own)] == [None] * 12


def test_the_score_is_the_share_of_right_answers(model: Model, tests_own: list[Path]) -> None:
    labels = [record.label for record in model.image_set.test]
    names = [one.class_name for one in model.predict(tests_own)]
    right = [model.class_names.index(str(name)) == label for name, label in zip(names, labels, strict=True)]
    assert model.score(tests_own, labels) == pytest.approx(np.mean(right))
    assert model.score(tests_own, np.array(labels)) == pytest.approx(np.mean(right))
    assert model.score(tests_own, names) == 1
    assert model.score(tests_own[0], str(names[0])) == 1
    with pytest.raises(ConfigError, match="'Dodo' is not one of the classes"):
        model.score(tests_own[:1], ["Dodo"])
    with pytest.raises(DataError, match="12 pictures and 1 labels came"):
        model.score(tests_own, [0])


def test_prototypes_are_training_patches_that_show_themselves(model: Model) -> None:
    assert tuple(model.prototypes()) == model.sources
    atlas = model.prototypes(model.class_names[1])
    assert [one.prototype for one in atlas] == prototypes_of_class(model, 1)
    assert [*atlas[-1:]] == [*atlas][-1:]
    assert (
        repr(atlas)
        .splitlines()[0]
        .startswith(f"prototype {atlas[0].prototype} of {atlas[0].class_name}: {atlas[0].path} (")
    )
    assert atlas._repr_png_() == png_bytes(draw_atlas(model, 1))
    with Image.open(io.BytesIO(model.prototypes()._repr_png_())) as picture:
        assert picture.width > 300
    with pytest.raises(ConfigError, match="'Dodo' is not one of the classes"):
        model.prototypes("Dodo")


def test_of_very_many_prototypes_a_notebook_shows_words(model: Model) -> None:
    many = replace(model, sources=model.sources * 20)
    assert many.prototypes()._repr_png_() is None
    assert repr(many.prototypes()).splitlines()[60:] == ["and 60 more"]


def test_figures_show_themselves(model: Model, tests_own: list[Path]) -> None:
    explanation = model.explain(tests_own[0])
    formatter = DisplayFormatter()
    for shown in (
        explanation.figure(),
        explanation.figure(against=explanation.runner_up),
        model.prototypes(0),
    ):
        data, _ = formatter.format(shown)
        assert data["image/png"][:4] == b"\x89PNG"
    assert "text/html" in formatter.format(explanation)[0]


def test_it_goes_to_a_device_and_says_where_it_cannot(model: Model) -> None:
    assert model.to("cpu") is model
    assert model.device == torch.device("cpu")
    moved = pixpnet.load(model.checkpoint).to(torch.device("meta"))
    assert moved.network.prototypes.device.type == "meta"
    with pytest.raises(ConfigError, match="the network can't go to the device 'kitchen'"):
        model.to("kitchen")


def test_it_is_a_run_in_six_lines_and_goes_to_other_processes(model: Model, tests_own: list[Path]) -> None:
    assert len(repr(model).splitlines()) == 6
    assert isinstance(model, pixpnet.Run)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(tests_own[:2]), model.transform(tests_own[:2]))


def test_the_package_lists_its_names_and_no_others() -> None:
    names = [name for name in dir(pixpnet) if not name.startswith("__")]
    assert names == sorted(pixpnet.__all__)
    assert {"fit", "load", "predict", "explain", "Model"} <= set(names)
