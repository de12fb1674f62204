"""What a report counts, chooses and warns of."""

from __future__ import annotations

import base64
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixpnet.config import Config
from pixpnet.errors import CheckpointError, DataError
from pixpnet.evaluation import Evaluation, EvaluationFiles, Measurement
from pixpnet.metrics import Estimate
from pixpnet.report import (
    Cell,
    Checked,
    Predictions,
    check,
    confusion,
    read_charts,
    read_metrics,
)
from pixpnet.report.evidence import Album, cut_out, shown_images
from pixpnet.runs import load, object_shares
from pixpnet.types import Box, PrototypeSource
from pixpnet.words import percent, readable_names

PREDICTIONS = Predictions(
    labels=np.array([0, 0, 0, 1, 1, 2]),
    probabilities=np.array(
        [
            [0.9, 0.1, 0.0],
            [0.2, 0.7, 0.1],
            [0.1, 0.8, 0.1],
            [0.3, 0.6, 0.1],
            [0.5, 0.4, 0.1],
            [0.1, 0.0, 0.9],
        ],
        dtype=np.float32,
    ),
    similarities=np.zeros((6, 2), dtype=np.float32),
)


def test_accuracies():
    assert PREDICTIONS.accuracy == pytest.approx(3 / 6)
    assert PREDICTIONS.class_accuracy == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert PREDICTIONS.confusion.tolist() == [[1, 2, 0], [1, 1, 0], [0, 0, 1]]


def test_most_confused_pairs():
    first, second = confusion(PREDICTIONS, ("a", "b", "c"), pairs=5).pairs
    assert (first.truth, first.predicted, first.count, first.images, first.example) == (0, 1, 2, 3, 2)
    assert (second.truth, second.predicted, second.count, second.example) == (1, 0, 1, 4)
    shown = confusion(PREDICTIONS, ("a", "b", "c"), pairs=1)
    assert (shown.pairs, shown.wrong, shown.images) == ((first,), 3, 6)
    assert shown.shades == ((2, 4, 0), (3, 3, 0), (0, 0, 5))


def test_many_classes_have_pairs_but_no_table():
    names = tuple(str(number) for number in range(60))
    probabilities = np.eye(60, dtype=np.float32)
    similarities = np.zeros((60, 1), dtype=np.float32)
    shown = confusion(Predictions(np.roll(np.arange(60), 1), probabilities, similarities), names, pairs=3)
    assert (shown.counts, len(shown.pairs), shown.wrong) == ((), 3, 60)


def test_images_are_chosen_once_each():
    assert shown_images(PREDICTIONS, 1) == {"each": [0], "wrong": [2], "unsure": [4]}
    assert shown_images(PREDICTIONS, 9) == {"each": [0, 3, 5], "wrong": [2, 1, 4], "unsure": []}


def test_times_on_top_count_positive_contributions_only(report, tiny_run):
    run = load(tiny_run)
    times, weights = Counter(), run.network.class_weights()
    for index in range(len(run.test_images)):
        with torch.no_grad():
            output = run.network(run.test_images[index].image[None])
        contributions = output.similarities[0] * weights[:, output.logits[0].argmax()]
        assert (contributions > 0).sum() < 3, "those of the class alone"
        best = sorted(range(6), key=lambda prototype: -contributions[prototype])[:3]
        times.update(prototype for prototype in best if contributions[prototype] > 0)
    assert {card.prototype: card.used for chapter in report.atlas for card in chapter.cards} == {
        prototype: times[prototype] for prototype in range(6)
    }


def source(prototype: int, image: str = "", cell: tuple[int, int] = (0, 0)) -> PrototypeSource:
    return PrototypeSource(
        prototype=prototype,
        image_id=image or str(prototype),
        path="a.png",
        label=0,
        class_name="a",
        sha256="",
        cell=cell,
        box=Box(0, 0, 4, 4),
        distance_before=0.0,
    )


FINE = Checked(
    prototypes=np.eye(4, dtype=np.float32),
    distance="l2",
    weights=np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32),
    own_class=np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=bool),
    sources=tuple(source(number) for number in range(4)),
    on_object=(0.1, 0.5, 1.0, 0.3),
    class_names=("a", "b"),
    mean_percent=20.0,
    used=(3, 1, 2, 1),
)


def test_checks_name_prototypes_as_readers_know_them():
    edited = tuple(replace(source(place), trained=place + 10) for place in range(4))
    found = check(replace(FINE, sources=edited, on_object=(1.0, 0.0, 1.0, 0.0), used=(0, 1, 1, 1)))
    assert sorted(remark.prototypes for remark in found if remark.prototypes) == [((10,),), ((11,), (13,))]


def wary(subject: Checked):
    return [remark for remark in check(subject) if remark.is_fine is not True]


def test_a_fine_network_has_no_warnings():
    assert [remark.is_fine for remark in check(FINE)] == [True] * 6


@pytest.mark.parametrize(("percent_", "is_part"), [(49.9, True), (50.0, False), (52.5, False)])
def test_half_of_the_image_is_not_a_part(percent_, is_part):
    found = wary(replace(FINE, mean_percent=percent_))
    assert (not found) == is_part
    if found:
        assert found[0].title.startswith("This is not a part")
        assert f"{percent_:.1f} %" in found[0].title


def test_shared_patches_are_found():
    shared = (source(0, "x", (1, 2)), source(1, "x", (2, 1)), source(2, "y"), source(3, "x", (1, 2)))
    (remark,) = wary(replace(FINE, sources=shared))
    assert remark.prototypes == ((0, 3),)
    assert "2 prototypes share" in remark.title


def test_nearly_equal_prototypes_are_grouped():
    prototypes = np.array([[1, 0, 0], [1, 0.1, 0], [1, 0.2, 0], [0, 0, 1]], dtype=np.float32)
    (remark,) = wary(replace(FINE, prototypes=prototypes))
    assert remark.prototypes == ((0, 1, 2),), "0 and 2 are near to 1, so all hang together"
    assert "3 prototypes" in remark.title


def test_lengths_matter_to_l2_only():
    prototypes = np.array([[1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    assert not wary(replace(FINE, prototypes=prototypes))
    (remark,) = wary(replace(FINE, prototypes=prototypes, distance="cosine"))
    assert remark.prototypes == ((0, 1),)


def test_prototypes_on_the_background_are_found():
    (remark,) = wary(replace(FINE, on_object=(0.09, None, 0.0, 0.1)))
    assert remark.is_fine is False
    assert remark.prototypes == ((0,), (2,))
    (remark,) = wary(replace(FINE, on_object=(None,) * 4))
    assert remark.is_fine is None


def test_classes_without_evidence_are_found():
    (remark,) = wary(replace(FINE, own_class=np.array([[1, 0]] * 4, dtype=bool)))
    assert remark.classes == ("b",)
    weights = np.array([[-1, 0], [0, 0], [0, 1], [0, 1]], dtype=np.float32)
    (remark,) = wary(replace(FINE, weights=weights))
    assert remark.classes == ("a",)


def test_prototypes_that_are_nobodys_evidence_are_found():
    (remark,) = wary(replace(FINE, used=(0, 1, 2, 0)))
    assert remark.is_fine is False
    assert remark.title.startswith("2 prototypes are never among the 3")
    assert remark.prototypes == ((0,), (3,))
    (remark,) = wary(replace(FINE, used=None))
    assert remark.is_fine is None


def test_warnings_come_first():
    found = check(replace(FINE, mean_percent=60.0, on_object=(None,) * 4))
    assert [remark.is_fine for remark in found] == [False, None, True, True, True, True]


def test_shares_of_the_object_are_the_masks(tiny_run):
    run = load(tiny_run)
    shares = object_shares(run.images(run.image_set.train), run.sources)
    for one, share in zip(run.sources, shares, strict=True):
        mask = np.asarray(
            Image.open((run.image_set.root / "segmentations" / one.path[7:]).with_suffix(".png"))
        )
        left, top, right, bottom = (int(side) for side in one.box)
        assert share == pytest.approx((mask[top:bottom, left:right] > 0).mean())


@pytest.mark.parametrize("box", [Box(16, 8, 48, 64), Box(15.5, 23.5, 31.5, 39.5)])
def test_without_masks_the_bounding_box_tells(tiny_run, box):
    run = load(tiny_run)
    records = run.image_set.train
    boxed = tuple(replace(record, mask=None, box=box) for record in records)
    pixels = np.array([[box.contains(x + 0.5, y + 0.5) for x in range(64)] for y in range(64)])
    for one, share in zip(run.sources, object_shares(run.images(boxed), run.sources), strict=True):
        left, top, right, bottom = (int(side) for side in one.box)
        assert share == pytest.approx(pixels[top:bottom, left:right].mean())
    bare = tuple(replace(record, mask=None, box=None) for record in records)
    assert set(object_shares(run.images(bare), run.sources)) == {None}


def write_metrics(path: Path, *lines: str) -> Path:
    path.write_text(
        "\n".join(("epoch,step,train_accuracy,val_accuracy,test_accuracy,train_total_loss", *lines))
    )
    return path


def test_curves_follow_the_logged_figures(tmp_path):
    config = replace(Config(), train=replace(Config().train, backbone_epochs=1))
    file = write_metrics(
        tmp_path / "m.csv", "1,5,0.25,,,2.5", "1,5,,0.2,,", "2,9,0.5,0.4,,1.5", "2,9,,,0.45,"
    )
    accuracy, loss = read_charts(file, config)
    assert [one.points for one in accuracy.series] == [
        ((1, 0.25), (2, 0.5)),
        ((1, 0.2), (2, 0.4)),
        ((2, 0.45),),
    ]
    table = [(epoch, [value.split()[:1] for value in values]) for epoch, values in accuracy.table]
    assert table == [(1, [["25.0"], ["20.0"], []]), (2, [["50.0"], ["40.0"], ["45.0"]])]
    assert [(end, name) for _, end, name in accuracy.stages] == [(1, "backbone"), (2, "warm-up")]
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in accuracy.series[0].path.split())
    ticks = {text: y for y, text in accuracy.y_ticks}
    assert x1 < x2
    assert y1 == ticks["25 %"]
    assert y2 == ticks["50 %"]
    assert [one.name for one in loss.series] == ["training"]
    assert "from 2.5 to 1.5" in loss.summary
    assert max(float(text) for _, text in loss.y_ticks) >= 2.5


def test_curves_need_figures(tmp_path):
    assert read_charts(tmp_path / "none.csv", Config()) == ()
    assert read_charts(write_metrics(tmp_path / "m.csv", "1,5,,,,"), Config()) == ()
    (chart,) = read_charts(write_metrics(tmp_path / "m.csv", "1,5,,,,0"), Config())
    assert chart.title == "Loss"
    (chart,) = read_charts(write_metrics(tmp_path / "m.csv", "1,5,,,,-3", "2,9,,,,-2"), Config())
    lowest, highest = (float(chart.y_ticks[end][1]) for end in (0, -1))
    assert lowest <= -3
    assert highest == 0


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"step,train_accuracy\n1,0.5\n", b"epoch,train_accuracy\n1,abc\n"],
    ids=["binary", "no epochs", "no number"],
)
def test_damaged_training_curves_are_named(tmp_path, content):
    file = tmp_path / "metrics.csv"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"metrics\.csv is damaged"):
        read_charts(file, Config())


def test_settings_mark_what_is_not_default(report):
    sections = {section.title: section for section in report.settings}
    changed = {one.name: one.value for one in sections["run"].settings if not one.is_default}
    assert changed.pop("log-dir")
    assert changed == {"seed": "7"}
    changed = {one.name: one.value for one in sections["model"].settings if not one.is_default}
    assert (changed["distance"], changed["num-prototypes"], changed["pretrained"]) == ("cosine", "6", "no")
    assert "readout-type" in {one.name for one in sections["model"].settings}
    assert all(one.is_default for one in sections["loss"].settings)


def test_percents_are_never_rounded_to_all_or_nothing():
    assert [percent(share).replace("\N{NO-BREAK SPACE}", " ") for share in (0, 1e-9, 0.5, 0.99999, 1)] == [
        "0 %",
        "<0.1 %",
        "50.0 %",
        ">99.9 %",
        "100 %",
    ]


def test_names_lose_numbers_only_where_they_stay_different():
    assert readable_names(["001.Blue_Wren", "2-Red wren"]) == ("Blue Wren", "Red wren")
    assert readable_names(["1.Wren", "2.Wren"]) == ("1.Wren", "2.Wren")
    assert readable_names(["1", "2"]) == ("1", "2")


def measured(method: str | None, value: float, *, metric: str = "consistency", left_out: int = 0):
    interval = Estimate(value, value - 5, value + 5, 10, left_out)
    return Measurement(
        metric=metric,
        method=method,
        protocol="eval-2023" if metric == "consistency" else None,
        settings={"seed": 0, "steps": None},
        values={"hard": interval} if metric == "consistency" else {"deciding": interval},
        units={"hard": "%", "deciding": "prototypes"},
    )


def test_metrics_have_a_column_for_each_method(tmp_path):
    evaluation = Evaluation(
        "a.ckpt",
        "0" * 64,
        (
            measured("receptive_field", 61.25, left_out=2),
            measured("prp", -3.0),
            measured(None, 7.5, metric="sparsity"),
        ),
    )
    assert read_metrics(tmp_path, checkpoint="a.ckpt") == ()
    EvaluationFiles(tmp_path).write(evaluation)
    agreement, sparse = read_metrics(tmp_path, checkpoint="a.ckpt")
    assert (agreement.title, agreement.methods) == ("Consistency, eval-2023", ("receptive field", "PRP"))
    (row,) = agreement.rows
    assert (row.title, row.better) == ("same part in ≥ 80 % of images", "high")
    assert row.cells == (Cell("61.2 %", "56.2 to 66.2"), Cell("−3.0 %", "−8.0 to 2.0"))
    assert agreement.note == "Means of 10 values, up to 2 left out, seed 0."
    assert (sparse.methods, sparse.rows[0].cells) == ((), (Cell("7.5", "2.5 to 12.5"),))
    other = read_metrics(tmp_path, checkpoint="b.ckpt")
    assert other[0].note.startswith("Measured on the checkpoint a.ckpt, not on the one that this page shows.")


@pytest.mark.parametrize("damaged", ["[1, 2]", "a: [1"])
def test_damaged_metrics_are_named(tmp_path, damaged):
    (tmp_path / "interpretability.yaml").write_text(damaged)
    with pytest.raises(DataError, match=r"interpretability\.yaml"):
        read_metrics(tmp_path, checkpoint="a.ckpt")


def css(style: str) -> dict[str, list[float]]:
    pairs = (part.split(":") for part in style.split(";"))
    return {
        name: [float(number.rstrip("%")) / 100 for number in value.split() if number.endswith("%")]
        for name, value in pairs
    }


@pytest.mark.parametrize("box", [(0, 0, 10, 10), (90, 20, 100, 50), (30, 5, 35, 45), (0, 0, 100, 50)])
def test_a_crop_shows_the_box_and_nothing_else(box):
    """CSS: a background of that size in a container of side 1, moved by position × (1 − size)."""
    shown = cut_out("i0", Box(*box), image_size=(50, 100))
    rules = css(shown.crop)
    for axis, side in ((0, 100), (1, 50)):
        size, position = rules["background-size"][axis], rules["background-position"][axis]
        offset = position * (1 - size)
        start, end = (edge * side / size for edge in (-offset, 1 - offset))
        assert (start, end) == pytest.approx((box[axis], box[axis + 2]), abs=0.05)
    frame = css(shown.frame)
    assert frame["left"][0] * 100 == pytest.approx(box[0])
    assert (frame["top"][0] + frame["height"][0]) * 50 == pytest.approx(box[3])


def picture(seed: int, side: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))


def test_an_album_keeps_every_picture_once():
    album, grey = Album(), np.full((20, 30, 3), 77, dtype=np.uint8)
    first = album.add("a", grey)
    assert album.add("a", grey) == first != album.add("b", picture(0))
    uris = album.data_uris()
    assert set(uris) == {album["a"], album["b"]}
    assert "c" not in album
    assert np.abs(np.asarray(decoded(uris[first])).astype(int) - 77).max() <= 2
    assert decoded(uris[first]).size == (30, 20)


def test_many_pictures_are_made_smaller():
    large, small = Album(), Album(budget=60_000)
    for seed in range(8):
        large.add(str(seed), picture(seed))
        small.add(str(seed), picture(seed))
    assert {decoded(uri).size for uri in large.data_uris().values()} == {(200, 200)}
    assert {decoded(uri).size for uri in small.data_uris().values()} == {(80, 80)}
    assert sum(map(len, small.data_uris().values())) < 60_000 * 4 / 3 + 1000
