"""The application: the page, and the JSON API that it is made with."""

import base64
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

import anyio
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from PIL import Image
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

import pixpnet
from pixpnet.data import FORMATS, dataset_title
from pixpnet.errors import ConfigError, DataError, PixPNetError
from pixpnet.explanation import Photograph, Prediction, Predictor, atlas_to_dict, explain, find_class
from pixpnet.figures import png_bytes
from pixpnet.report import asset, templates
from pixpnet.runs import CHANGES, Run
from pixpnet.serving.edits import add_edits, with_all_sources
from pixpnet.serving.guard import Guard
from pixpnet.serving.limits import FIELD, Limits, check_pixels, read_upload
from pixpnet.serving.line import Line
from pixpnet.words import readable_names, visible

_PACKAGE = "pixpnet.serving"

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
"""How a picture comes, for the description of the API."""

_ERROR = {
    "description": "What is wrong, in one line",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string"}},
            }
        }
    },
}
_ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 408, 413, 422, 503), _ERROR)

_CLASS = Query(description="A class, by its name or index")
_IMAGE = Query(alias="id", description="A training picture, as `image_id` of a prototype's source")
_TOP_K = Query(ge=0, description="Prototypes, of a contrast for each class")
_DRAWN = Query(ge=1, le=20, description="Prototypes that are drawn, of a contrast for each class")

_logger = logging.getLogger(__name__)


def create_app(
    run: Run,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] | None = ("localhost", "127.0.0.1", "::1"),
    limits: Limits | None = None,
    editable: bool = False,
) -> ASGIApp:
    """The application of a trained network, for any ASGI server.

    Args:
        run: The network, where it is to compute.
        token: What requests have to show; None: nothing.
        hosts: The names that requests may call the server by; None: any.
        limits: What it takes at most; None: `Limits`' defaults.
        editable: Whether who may ask may also edit the run's prototypes.

    Raises:
        CheckpointError: The prototypes are not training patches.
        PixPNetError: It is to be editable, and can't be, as of `pixpnet.edit`.
    """
    limits = limits or Limits()
    run.require_sources()
    if editable and token is None and hosts is None:
        raise ConfigError("serve: prototypes can be edited from elsewhere with a token only.")
    pictured = with_all_sources(run) if editable else run
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    answers = Counter("pixpnet_requests", "Answers", ("route", "status"), registry=registry)
    seconds = Histogram("pixpnet_request_seconds", "Until the answer", ("route",), registry=registry)
    batches = Histogram(
        "pixpnet_batch_pictures",
        "Pictures in one forward pass",
        buckets=(1, 2, 4, 8, 16, 32, 64),
        registry=registry,
    )

    def predictor_of(run: Run) -> Predictor:
        return Predictor(limits.of_run(run), batch_size=limits.batch_size)

    predictor = predictor_of(run)
    line = Line(predictor, limits, on_batch=batches.observe)
    waiting = Gauge("pixpnet_waiting", "Requests with a picture that are there", registry=registry)
    waiting.set_function(lambda: line.inside)

    def count(route: str, status: int, took: float) -> None:
        answers.labels(route, str(status)).inc()
        seconds.labels(route).observe(took)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _ = predictor.calibration  # before the first request
        with line.opened():
            yield

    app = FastAPI(
        title="PixPNet",
        description=f"{visible(dataset_title(run.config.dataset))}: {run.config.model.network}",
        version=pixpnet.__version__,
        docs_url=None,  # these load what they need from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    _tell_errors(app)
    has_images = _has_images(pictured)
    _add_page(app, run, has_images=has_images, editable=editable)
    _add_pictures(app, line, limits)
    _add_prototypes(app, pictured, line, has_images=has_images)
    if editable:
        add_edits(app, pictured, line, limits, predictor_of=predictor_of)

    @app.get("/healthz")
    def health() -> dict[str, str]:
        """Whether the network answers."""
        if not line.is_working:
            raise HTTPException(503, "the network does not answer.")
        return {"status": "ok"}

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Counts and times, as Prometheus reads them."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Guard(app, token=token, hosts=hosts, on_answer=count)


def _tell_errors(app: FastAPI) -> None:
    """Let every error be JSON of one line."""

    async def told(_: Request, error: Exception) -> Response:
        headers = None
        if isinstance(error, AnyHTTPException):
            status, words, headers = error.status_code, error.detail, error.headers
        elif isinstance(error, RequestValidationError):
            status, words = 422, "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        elif isinstance(error, ClientDisconnect):
            status, words = 400, "the client is gone."
        elif isinstance(error, PixPNetError):
            status, words = 422, str(error)
        else:
            status, words = 500, "something went wrong here; the server's log says what."
        return JSONResponse({"error": visible(" ".join(words.split()))}, status, headers)

    for kind in (AnyHTTPException, RequestValidationError, ClientDisconnect, PixPNetError, Exception):
        app.add_exception_handler(kind, told)


def _add_page(app: FastAPI, run: Run, *, has_images: bool, editable: bool) -> None:
    page = templates(_PACKAGE).get_template("page.html.j2")
    names = readable_names(run.class_names)
    told = {"has_images": has_images, "formats": FORMATS, "version": pixpnet.__version__}
    changes = {do: kind for do, kind in CHANGES.items() if kind.prototypes != 0} if editable else {}
    html = page.render(run=run, names=names, changes=changes, **told)
    assets = {
        "page.css": (asset("style.css") + asset("page.css", _PACKAGE), "text/css"),
        "page.js": (asset("page.js", _PACKAGE), "text/javascript"),
        "edit.js": (asset("edit.js", _PACKAGE), "text/javascript"),
    }

    @app.get("/", include_in_schema=False)
    def shown() -> Response:
        return Response(html, media_type="text/html")

    @app.get("/assets/{name}", include_in_schema=False)
    def asset_of(name: str) -> Response:
        if name not in assets:
            raise HTTPException(404, "there is no such file.")
        text, kind = assets[name]
        return Response(text, media_type=kind)


def _add_pictures(app: FastAPI, line: Line, limits: Limits) -> None:
    """What is asked of a picture."""
    post = partial(app.post, openapi_extra=_BODY, responses=_ERRORS)

    async def of_picture(request: Request, ask: Callable[[str, bytes], Awaitable[Any]]) -> Any:
        with line.place():
            name, data = await read_upload(request, limits)
            await anyio.to_thread.run_sync(check_pixels, data, limits)
            return await ask(name, data)

    @post("/v1/predict", response_model=Prediction)
    async def predict(request: Request, top_k: Annotated[int, _TOP_K] = 3) -> Response:
        """Class, calibrated probability, how unfamiliar the picture is, and the evidence."""

        async def ask(name: str, data: bytes) -> Response:
            found = await line.predict(data, top_k=top_k)
            if found.error is not None:
                raise DataError(found.error)
            return JSONResponse(replace(found, path=name).to_dict())

        return await of_picture(request, ask)

    @post("/v1/contrast")
    async def contrast(
        request: Request, against: Annotated[str, _CLASS], top_k: Annotated[int, _TOP_K] = 3
    ) -> dict[str, Any]:
        """Why the predicted class and not another one: the prototypes that speak most for either."""

        def found(data: bytes) -> dict[str, Any]:
            all_of_it = explain(line.predictor.run, data).against(against)
            shares = (*all_of_it.for_target[:top_k], *reversed(all_of_it.for_other[:top_k]))
            return replace(all_of_it, shares=shares).to_dict()

        return await of_picture(request, lambda _, data: line.do(partial(found, data)))

    @post("/v1/figure", response_class=Response)
    async def figure(
        request: Request, against: Annotated[str | None, _CLASS] = None, top_k: Annotated[int, _DRAWN] = 5
    ) -> Response:
        """The evidence, or a contrast with a class, drawn on the picture: PNG."""

        def drawn(data: bytes) -> bytes:
            explanation = explain(line.predictor.run, data)
            return png_bytes(explanation.figure(top_k=top_k, against=against, on="original"))

        png = await of_picture(request, lambda _, data: line.do(partial(drawn, data)))
        return Response(png, media_type="image/png")

    @post("/v1/picture")
    async def picture(request: Request) -> dict[str, Any]:
        """The picture as it is read, upright, for boxes to be drawn on: its size, and a smaller JPEG."""

        def shown(data: bytes) -> dict[str, Any]:
            run = line.predictor.run
            upright = run.upright(data)
            width, height = upright.size
            small = Photograph(upright, (0, 0, width, height), run.geometry).shown
            jpeg = base64.b64encode(_encoded(Image.fromarray(small), "JPEG")).decode()
            return {"width": width, "height": height, "jpeg": f"data:image/jpeg;base64,{jpeg}"}

        return await of_picture(request, lambda _, data: line.do(partial(shown, data)))


def _has_images(run: Run) -> bool:
    """Whether the prototypes' training pictures can be shown."""
    try:
        run.require_source_images()
    except DataError as error:
        _logger.warning("prototypes are shown without their training pictures: %s", error)
        return False
    return True


def _add_prototypes(app: FastAPI, pictured: Run, line: Line, *, has_images: bool) -> None:
    sources = {source.image_id: source for source in pictured.sources if has_images}

    def of_class(run: Run, index: int) -> dict[str, Any]:
        found = atlas_to_dict(run, index)
        for one in found["prototypes"]:
            one["image"] = f"v1/images?{urlencode({'id': one['image_id']})}" if has_images else None
        return found

    @app.get("/v1/prototypes", responses={422: _ERROR})
    def prototypes(
        class_: Annotated[str | None, Query(alias="class", description=_CLASS.description)] = None,
    ) -> dict[str, Any]:
        """The training patches of a class's prototypes, largest weight first; or of all classes."""
        run = line.predictor.run
        names = run.class_names
        chosen = range(len(names)) if class_ is None else [find_class(names, class_)]
        height, width = run.image_size
        return {"width": width, "height": height, "classes": [of_class(run, index) for index in chosen]}

    @app.get("/v1/images", response_class=Response, responses={404: _ERROR})
    def source_image(id_: Annotated[str, _IMAGE]) -> Response:
        """The training picture of prototypes, as the network saw it: PNG."""
        if id_ not in sources:
            raise HTTPException(404, f"no prototype is a patch of a training picture {id_}.")
        png = _encoded(Image.fromarray(pictured.source_image(sources[id_])), "PNG")
        return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=300"})


def _encoded(image: Image.Image, format_: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, quality=90)
    return file.getvalue()
