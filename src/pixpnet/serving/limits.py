"""What a server takes at most, and pictures of requests within it."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import NamedTuple

import anyio
import python_multipart  # noqa: F401 which Starlette asks for only where a form comes
from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pixpnet.data import picture_size
from pixpnet.errors import ConfigError
from pixpnet.runs import Run
from pixpnet.types import Reading

FIELD = "file"
"""The picture's name in a form."""


@dataclass(frozen=True)
class Limits:
    """What a server takes at most; of several frames or pages of a picture only the first is ever read.

    Args:
        max_bytes: Of the body of a request.
        max_pixels: Of a picture, before it is decoded.
        max_waiting: Requests with a picture that are there at a time; further ones are sent away (503).
        batch_size: Pictures in one forward pass; None: 8, on a GPU 64.
        timeout: Seconds for a picture to come, and again for its answer.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_waiting: int = 32
    batch_size: int | None = None
    timeout: float = 30.0

    def __post_init__(self) -> None:
        values = (self.max_bytes, self.max_pixels, self.max_waiting, self.batch_size or 1, self.timeout)
        if not all(0 < value < float("inf") for value in values):
            raise ConfigError("serve: limits are above 0 and finite.")

    def of_run(self, run: Run) -> Run:
        """The run, reading no larger pictures than these."""
        data = run.config.dataset
        lowered = replace(data, max_pixels=min(data.max_pixels, self.max_pixels))
        return replace(run, config=replace(run.config, dataset=lowered))


class Upload(NamedTuple):
    """A picture as it came."""

    name: str
    """As the client says it; else "picture"."""
    data: bytes


async def read_upload(request: Request, limits: Limits) -> Upload:
    """The picture of a request, a file of a form or the body itself; nothing goes to the disk.

    Raises:
        HTTPException: It takes too long, is too large, or there is none.
    """
    body = await read_body(request, limits)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    upload = await _of_form(request, body) if kind == "multipart/form-data" else Upload("picture", body)
    if not upload.data:
        raise HTTPException(
            422, f"there is no picture: send a file's bytes as the body, or as {FIELD} of a form."
        )
    return upload


def check_pixels(data: bytes, limits: Limits) -> None:
    """Check the size of a picture by its head.

    Raises:
        DataError: It is no picture that can be read.
        HTTPException: It is too large.
    """
    width, height = picture_size(data, Reading(max_pixels=sys.maxsize))
    if width * height > limits.max_pixels:
        raise HTTPException(
            413,
            f"the picture has {width} x {height} pixels; this server takes {limits.max_pixels:,} of them.",
        )


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: It takes too long, or is too large.
    """
    try:
        with anyio.fail_after(limits.timeout):
            return await _body(request, limits.max_bytes)
    except TimeoutError:
        raise HTTPException(408, f"the request did not come within {limits.timeout:g} seconds.") from None


async def _body(request: Request, most: int) -> bytes:
    too_large = HTTPException(413, f"the request is too large; this server takes {most:,} bytes.")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


class _InMemory(MultiPartParser):
    spool_max_size = 0
    """No size at which a file goes to the disk; the body is within the limits already."""


async def _of_form(request: Request, body: bytes) -> Upload:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(request.headers, stream(), max_files=1, max_fields=8).parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form can't be read: {error.message}") from error
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        return Upload("picture", b"")
    return Upload(file.filename or "picture", await file.read())
