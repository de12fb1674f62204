"""Figures on the original picture: the same boxes and maps, where they are in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from pixpnet.errors import ConfigError
from pixpnet.explanation import Explanation, explain, explain_images, explain_test
from pixpnet.pixel_space import MAPPINGS
from pixpnet.runs import Run, load


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide, red at the left end and blue at the right one, which the network doesn't see; to be turned."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 300, 3), np.uint8)
    pixels[:, :90], pixels[:, 210:] = (255, 0, 0), (0, 0, 255)
    tags = Image.Exif()
    tags[0x0112] = 3
    path = tmp_path_factory.mktemp("photo") / "wide.png"
    Image.fromarray(pixels[::-1, ::-1]).save(path, exif=tags)
    return path


def drawn(figure: Figure) -> list[tuple[np.ndarray, list[tuple[float, ...]]]]:
    """The pictures of a figure, and their boxes."""
    return [
        (
            np.asarray(axes.images[0].get_array()),
            [(*box.get_xy(), box.get_width(), box.get_height()) for box in axes.patches],
        )
        for axes in figure.axes
        if axes.images
    ]


def test_boxes_and_maps_are_in_the_photograph(run: Run, photo: Path) -> None:
    explanation = explain(run, photo)
    (whole, boxes), (patch, _), _, (source, _), (mapped, its) = drawn(
        explanation.figure(top_k=1, on="original")
    )
    assert whole.shape == mapped.shape == (90, 300, 3)
    assert (whole[:, :90] == (255, 0, 0)).all()
    one = explanation.evidence[0]
    assert one.box_in_picture is not None
    left, top, right, bottom = one.box_in_picture
    assert 90 < left < right < 210
    assert boxes[0] == its[0] == (left, top, right - left, bottom - top)
    assert (patch == whole[int(top) : int(bottom), int(left) : int(right)]).all()
    assert source.shape == (64, 64, 3)
    grey = mapped[:, 220:].astype(int)  # what was not seen has no colour: the map is least there
    assert np.ptp(grey, axis=2).max() < np.ptp(mapped[:, 90:210].astype(int), axis=2).max()


def test_large_photographs_are_shown_smaller(run: Run, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 3000, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    explanation = explain(run, tmp_path / "large.png")
    (whole, boxes), *_ = drawn(explanation.figure(top_k=1, on="original"))
    assert whole.shape == (410, 1024, 3)
    one = explanation.evidence[0]
    assert one.box_in_picture is not None
    scale = 1024 / 3000
    assert boxes[0][0] == pytest.approx(one.box_in_picture.left * scale, abs=0.01)
    assert boxes[0][3] == pytest.approx((one.box_in_picture.bottom - one.box_in_picture.top) * 410 / 1200)


@pytest.mark.parametrize("method", [name for name in MAPPINGS if name != "prp"])
def test_every_method_and_contrast(run: Run, photo: Path, method: str, tmp_path: Path) -> None:
    explanation = explain(run, photo)
    for against in (None, explanation.runner_up):
        figure = explanation.figure(top_k=1, on="original", method=method, against=against)
        assert drawn(figure)[0][0].shape == (90, 300, 3)
    written = explain_images(run, [photo.parent], method=method, on="original", out=tmp_path)
    assert [path.name for path in written] == ["wide_explanation.png"]


def test_the_input_is_the_default(run: Run, photo: Path) -> None:
    explanation = explain(run, photo)
    for figure in (explanation.figure(top_k=1), explanation.figure(top_k=1, on="input")):
        assert drawn(figure)[0][0].shape == (64, 64, 3)


def test_test_images_have_their_photograph(run: Run) -> None:
    explanation: Explanation = explain_test(run, 0)
    assert drawn(explanation.figure(top_k=1, on="original"))[0][0].shape == (64, 64, 3)


def test_the_photograph_of_a_tensor_is_not_known(run: Run) -> None:
    explanation = explain(run, torch.full((3, 64, 64), -1.0))
    with pytest.raises(ConfigError, match="a tensor's original picture is not known"):
        explanation.figure(on="original")
    with pytest.raises(ConfigError, match="on='photo' is none of input, original"):
        explanation.figure(on="photo")
