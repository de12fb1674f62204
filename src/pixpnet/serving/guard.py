"""Who may ask, and what every answer says to browsers: around the whole application, its errors too."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection
from time import perf_counter
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer."""

FREE = "/healthz"
"""What needs no token."""

_logger = logging.getLogger(__name__)


class Guard:
    """An application that only those reach who may.

    Args:
        app: The application.
        token: What requests have to show, as a bearer's, or as the cookie that ``/?token=`` gives; None:
            nothing.
        hosts: The names that requests may call this server by; None: any. Without that a page of somewhere
            else, whose name is made to point here (DNS rebinding), could read what is served.
        on_answer: Told the route, the status and the seconds of each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        hosts: Collection[str] | None,
        on_answer: Callable[[str, int, float], None],
    ) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts
        self._on_answer = on_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "Cache-Control": "no-store"}.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await (self._refusal(Request(scope)) or self._app)(scope, receive, sent)
        except Exception as error:  # it is answered already
            _logger.error("%s %s: %s: %s", scope["method"], scope["path"], type(error).__name__, error)
            _logger.debug("", exc_info=error)
        route = getattr(scope.get("route"), "path", "other")
        self._on_answer(route, status, perf_counter() - begin)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return _error(421, "this server has another name; call it localhost or 127.0.0.1.")
        origin = request.headers.get("origin")
        if request.method not in ("GET", "HEAD") and origin and _place_of(origin) != host:
            return _error(403, "pages of other servers may not ask.")
        if self._token is None or request.url.path == FREE:
            return None
        cookie = f"pixpnet_{(request.scope.get('server') or ('', ''))[1]}"
        if request.url.path == "/" and self._is_token(request.query_params.get("token", "")):
            answer = RedirectResponse("./", 303)
            secure = request.url.scheme == "https"
            answer.set_cookie(cookie, self._token, httponly=True, samesite="strict", secure=secure)
            return answer
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if self._is_token(given.strip() if kind.lower() == "bearer" else request.cookies.get(cookie, "")):
            return None
        words = "a token is needed: Authorization: Bearer TOKEN, or in a browser once /?token=TOKEN."
        return _error(401, words, {"WWW-Authenticate": "Bearer"})

    def _is_token(self, given: str) -> bool:
        """Compared in a time that does not tell how much of it is right."""
        return secrets.compare_digest(given.encode(), (self._token or "").encode())


def _error(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": words}, status, headers)


def _name_of(host: str) -> str | None:
    """
    >>> _name_of("LOCALHOST:8000"), _name_of("[::1]:80"), _name_of("[")
    ('localhost', '::1', None)
    """
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
