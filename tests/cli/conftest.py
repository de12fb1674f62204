"""Running commands in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pixpnet.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def pixpnet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run ``pixpnet`` with arguments; a wide terminal, and no log level set."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("PIXPNET_LOG_LEVEL", raising=False)

    def run(*arguments: str | Path) -> Ended:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
