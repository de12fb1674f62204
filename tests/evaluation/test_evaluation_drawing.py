"""Curves, bars and tables show the measurements that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from pixpnet.evaluation import Curve, Evaluation, Measurement, draw_bars, draw_curves, tabulate
from pixpnet.metrics import Estimate


def measurement(method: str | None, area: float, **changes) -> Measurement:
    curve = Curve(np.array([0.0, 0.5, 1.0]), np.array([1.0, 2.0, 3.0]), np.array([0.0, area, 1.0]))
    values = {
        "area": Estimate(area, area - 0.1, area + 0.2, 10, 0),
        "share": Estimate(25.0, 20.0, 35.0, 10, 1),
    }
    units = {"area": "", "share": "%"}
    given = {"metric": "relevance_ordering", "method": method, "protocol": None, "settings": {}}
    return Measurement(**{**given, "values": values, "units": units, "curve": curve, **changes})


OURS, OTHER = measurement("receptive_field", 0.9), measurement("prp", 0.7)


def test_measurements_of_a_metric():
    middle = measurement(None, 0.1, metric="stability", protocol="eval-2023")
    ours = measurement("upsampling", 0.1, metric="stability", protocol="pixpnet-2023")
    evaluation = Evaluation("a.ckpt", "0" * 64, (OURS, OTHER, middle, ours))
    assert evaluation.of("relevance_ordering", methods=["prp", "random"]) == (OTHER,)
    assert evaluation.of("stability", methods=["upsampling"], protocol="pixpnet-2023") == (ours,)
    assert evaluation.of("stability", methods=["upsampling"], protocol="eval-2023") == (middle,)


def test_curves_with_the_mean_receptive_field():
    (axes,) = draw_curves([OURS, OTHER], mean_percent=12.5).axes
    lines = {line.get_label(): line for line in axes.lines}
    for label, one in (("receptive field, area 0.900", OURS), ("PRP, area 0.700", OTHER)):
        assert one.curve is not None
        assert np.allclose(lines[label].get_xdata(), 100 * one.curve.shares)
        assert np.allclose(lines[label].get_ydata(), one.curve.normalised)
    assert lines["receptive field, area 0.900"].get_linestyle() != lines["PRP, area 0.700"].get_linestyle()
    upright = [
        line for line in axes.lines if list(line.get_ydata()) == [0, 1] and len(set(line.get_xdata())) == 1
    ]
    assert [line.get_xdata()[0] for line in upright] == [12.5]
    assert "mean receptive field, 12.5 %" in axes.get_legend().get_title().get_text()


def test_bars_with_their_intervals():
    area, share = draw_bars([OURS, OTHER]).axes
    assert [bar.get_width() for bar in area.patches] == [0.9, 0.7]
    assert [label.get_text() for label in area.get_yticklabels()] == ["receptive field", "PRP"]
    assert area.yaxis_inverted()
    whiskers = [segment[:, 0].tolist() for segment in area.collections[0].get_segments()]
    assert whiskers == [pytest.approx([0.8, 1.1]), pytest.approx([0.6, 0.9])]
    assert "higher is better" in area.get_title(loc="left")
    assert "lower is better" in share.get_title(loc="left")


def test_a_row_for_each_mapping():
    table = tabulate([OURS, OTHER])
    assert list(table.index) == ["receptive field", "PRP"]
    assert table.iloc[0].tolist() == ["0.900 (0.800 to 1.100)", "25.0 % (20.0 to 35.0)"]
