"""``pixpnet serve``: a page to drop pictures on, and a JSON API."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pixpnet.cli.console import say
from pixpnet.cli.parser import Parser, number_in
from pixpnet.config import FROM_1, Range
from pixpnet.memory import keep_freed_memory

TOKEN = "PIXPNET_TOKEN"

_LARGEST_KEPT = 2**24
"""Bytes: the tensors of a forward pass, but no picture of millions of pixels, which anyone may send."""


def serve(arguments: Sequence[str]) -> int:
    """Serve until a signal ends it."""
    parser = Parser(
        "pixpnet serve",
        "Serve a trained network: a page to drop pictures on, and a JSON API.",
        of=["pixpnet.serving:serve", "pixpnet.serving:Limits"],
    )
    parser.add_run("folder of the run, a checkpoint, or a folder of `pixpnet export`")
    parser.take("host", metavar="ADDRESS")
    parser.take("port", type=number_in(Range(minimum=0, maximum=65535)), metavar="N")
    shown = f"what requests have to show; {TOKEN} in the environment does the same, unseen by other users"
    parser.take(
        "token", metavar="TEXT", says=f"{shown}; None: none at this machine's own address, else one is made"
    )
    parser.take("editable")
    for name in ("max_bytes", "max_pixels", "max_waiting", "batch_size"):
        parser.take(name, type=number_in(FROM_1), metavar="N")
    parser.take("timeout", type=number_in(Range(minimum=0.1), float), metavar="SECONDS")
    options = vars(parser.parse(arguments))
    from pixpnet.serving import Limits, serve

    keep_freed_memory(os.environ, largest=_LARGEST_KEPT)
    limits = Limits(**{name: options.pop(name) for name in Limits.__dataclass_fields__})
    token = options.pop("token")
    serve(**options, token=os.environ.get(TOKEN) if token is None else token, limits=limits, tell=_tell)
    return 0


def _tell(address: str) -> None:
    say(address)
    sys.stdout.flush()  # to whatever waits for it
