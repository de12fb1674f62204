"""From a run to a server that listens."""

from __future__ import annotations

import logging
import re
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import torch
import uvicorn

from pixpnet.errors import ConfigError
from pixpnet.runs import load
from pixpnet.serving.app import create_app
from pixpnet.serving.limits import Limits
from pixpnet.workers import ENDING

_LONGEST_HEADERS = 16_384
"""Bytes of a request before its body."""

_GRACE = 5
"""Seconds for what is being answered when the server is told to end."""


def serve(
    run_dir: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    limits: Limits | None = None,
    editable: bool = False,
    dataset_root: str | Path | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve a trained network as a page and a JSON API, until a signal ends it.

    Args:
        run_dir: A run directory, one of its checkpoints, or the folder of `pixpnet export`; the network goes
            to a GPU where there is one.
        host: Address to listen at; at others than this machine's own a token is needed.
        port: To listen at; 0: any that is free.
        token: What requests have to show; None: nothing on this machine alone, else one is made and shown.
        limits: What it takes at most; None: `Limits`' defaults.
        editable: Let the page, and who else may ask, edit the run's prototypes; not for a model that stands
            alone, and at addresses that others reach only with a token that is given.
        dataset_root: Where the run's data lies now, if it has moved.
        tell: Told the address.

    Raises:
        CheckpointError: There is no such run, or its prototypes are not training patches.
        ConfigError: The address can't be listened at, or the token can't be sent or is missing.
        PixPNetError: It is to be editable, and can't be, as of `pixpnet.edit`.
    """
    if editable and token is None and not _is_loopback(host):
        raise ConfigError(f"serve: at {host} prototypes can be edited with a token only; give --token.")
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise ConfigError("serve: the token is to be of ASCII letters, digits and signs, without blanks.")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a line for each form that is none
    with _listening(host, port) as listener:
        run = load(run_dir, dataset_root=dataset_root)
        run.network.to("cuda" if torch.cuda.is_available() else "cpu")
        is_made = token is None and not _is_loopback(host)
        token = secrets.token_urlsafe(24) if is_made else token
        hosts = ("localhost", "127.0.0.1", "::1", host.lower()) if _is_loopback(host) else None
        app = create_app(run, token=token, hosts=hosts, limits=limits, editable=editable)
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}/"
        tell(f"{address}?token={token}" if is_made else address)
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=_LONGEST_HEADERS,
            timeout_graceful_shutdown=_GRACE,
        )
        _run(uvicorn.Server(config), listener)


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run until a signal comes; then, when all is closed, let it be heard as it would have been."""
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        server.should_exit = True

    is_main = threading.current_thread() is threading.main_thread()
    heard = {number: signal.getsignal(number) for number in ENDING if is_main}
    heard = {number: former for number, former in heard.items() if callable(former)}
    for number in heard:  # uvicorn knows SIGTERM, but not SIGHUP
        signal.signal(number, end)
    try:
        server.run(sockets=[listener])
    finally:
        for number, former in heard.items():
            signal.signal(number, former)
    for number in came:
        signal.raise_signal(number)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise ConfigError(f"serve: can't listen at {host}, port {port}: {reason}.") from error


def _is_loopback(host: str) -> bool:
    """
    >>> _is_loopback("localhost"), _is_loopback("127.0.0.2"), _is_loopback("::1"), _is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False
