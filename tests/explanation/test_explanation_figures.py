"""What figures of explanations say and show for each method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pixpnet.explanation import Explanation, draw_atlas, explain_test
from pixpnet.pixel_space import MAPPINGS, upsampling_region
from pixpnet.runs import Run, load
from pixpnet.types import Box


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return load(tiny_run)


@pytest.fixture(scope="module")
def explanation(run: Run) -> Explanation:
    return explain_test(run, 0)


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def boxes(figure: Figure) -> list[Box]:
    """Of the frames in each picture that is not a patch, in pixels."""
    found = []
    for axes in figure.axes:
        if axes.images:
            x, y = axes.patches[0].get_xy()
            width, height = axes.patches[0].get_width(), axes.patches[0].get_height()
            found.append(Box(x, y, x + width, y + height))
    return found


def test_the_rows_are_the_largest_contributions(explanation: Explanation) -> None:
    figure = explanation.figure(top_k=2)
    said = words(figure)
    first, second, third = explanation.evidence[:3]
    assert f"prototype {first.prototype}\n" in said
    assert f"prototype {second.prototype}\n" in said
    assert f"prototype {third.prototype}\n" not in said
    assert f"= +{first.contribution:.2f}" in said
    assert explanation.truth is not None
    assert "it is:" in said
    part, total = first.contribution + second.contribution, explanation.logit
    assert f"Shown: 2 of 6 prototypes, by contribution; they add {part:.2f}, the others" in said
    assert f"together {total:.2f}, the logit." in said


def test_or_the_most_similar(explanation: Explanation) -> None:
    most = max(explanation.evidence, key=lambda one: one.similarity)
    said = words(explanation.figure(top_k=1, by="similarity"))
    assert f"prototype {most.prototype}\n" in said
    assert f"similarity {most.similarity:.2f}" in said


@pytest.mark.parametrize("method", MAPPINGS)
def test_each_method_shows_its_own_boxes_and_says_so(explanation: Explanation, method: str) -> None:
    figure = explanation.figure(top_k=1, method=method)
    said = words(figure).replace("\n", " ")
    assert MAPPINGS[method].note in said
    assert ("NOT what the network saw" in said) == (method == "upsampling")
    one, field = explanation.evidence[0], explanation.maps.receptive_field
    assert one.source is not None
    here, there = one.box, one.source.box
    if method == "upsampling":
        here, there = (upsampling_region(field, *cell) for cell in (one.cell, one.source.cell))
    in_image, _, _, in_source, in_map = boxes(figure)
    for shown, wanted in ((in_image, here), (in_map, here), (in_source, there)):
        assert shown == pytest.approx(wanted)
    image, patch, prototype, source, mapped = (
        np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images
    )
    assert explanation.source_image is not None
    assert (image == explanation.image).all()
    assert (source == explanation.source_image(one.source)).all()
    for pixels, whole, box in ((patch, image, here), (prototype, source, there)):
        left, top = int(np.floor(box.left)), int(np.floor(box.top))
        right, bottom = int(np.ceil(box.right)), int(np.ceil(box.bottom))
        assert (pixels == whole[top:bottom, left:right]).all()
    assert (mapped != image).any()


def test_a_contrast_shows_what_speaks_for_either_class(explanation: Explanation) -> None:
    contrast = explanation.against(explanation.runner_up)
    figure = explanation.figure(top_k=2, against=explanation.runner_up)
    said = words(figure)
    assert f"the logits differ by {contrast.difference:.2f}" in said
    captions = [text for text in figure.texts if text.get_text().startswith("prototype ")]
    counted = {text.get_text().split(",")[0]: text for text in captions}
    for side, left in ((contrast.for_target, True), (contrast.for_other, False)):
        for share in side[:2]:
            text = counted.pop(f"prototype {share.evidence.prototype}")
            assert (text.get_position()[0] < 0.5) == left
            assert f"= +{abs(share.difference):.2f}" in text.get_text()
    assert not counted
    assert "similarity × (weight for this class − weight for the other)" in said.replace("\n", " ")
    overlaid = explanation.figure(top_k=1, against=explanation.runner_up, method="upsampling")
    plain = explanation.figure(top_k=1, against=explanation.runner_up)
    first, other = (np.asarray(figure.axes[0].images[0].get_array()) for figure in (plain, overlaid))
    assert (first == explanation.image).all()
    assert (other != explanation.image).any()


def test_a_contrast_by_similarity(explanation: Explanation) -> None:
    contrast = explanation.against(explanation.runner_up)
    figure = explanation.figure(top_k=1, by="similarity", against=explanation.runner_up)
    for side in (contrast.for_target, contrast.for_other):
        if side:
            most = max(side, key=lambda share: share.evidence.similarity)
            assert f"prototype {most.evidence.prototype}," in words(figure)


def test_the_atlas_shows_every_prototype_of_the_class(run: Run) -> None:
    sources = [source for source in run.sources if source.label == 1]
    figure = draw_atlas(run, 1)
    assert f"{len(sources)} prototypes" in words(figure)
    for source in sources:
        assert f"prototype {source.prototype}, weight" in words(figure)
    assert set(boxes(figure)[::2]) == {source.box for source in sources}
