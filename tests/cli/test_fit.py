"""``pixpnet fit``: what it hands on."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.parametrize(("line", "thumbnails"), [("", True), ("--no-thumbnails", False)])
def test_pictures_are_kept_unless_that_is_forbidden(
    pixpnet: Callable, monkeypatch: pytest.MonkeyPatch, line: str, thumbnails: bool
) -> None:
    asked: list[dict[str, object]] = []
    planned: list[dict[str, object]] = []

    class Plan:
        def lines(self) -> list[str]:
            return []

    def plan_fit(**options: object) -> Plan:
        planned.append(options)
        return Plan()

    monkeypatch.setattr("pixpnet.fitting.fit", lambda **options: asked.append(options))
    monkeypatch.setattr("pixpnet.fitting.plan_fit", plan_fit)
    assert pixpnet("fit", "photos", *line.split()).code == 0
    assert [options["thumbnails"] for options in asked] == [thumbnails]
    assert pixpnet("fit", "photos", "--dry-run", *line.split()).code == 0
    assert [set(options) & {"out", "trials", "thumbnails"} for options in planned] == [set()]
