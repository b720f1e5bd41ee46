"""The page: a server on this machine alone, for those who know its address.

Every request needs the token that is the first part of the path, and must name this machine as its
host, so that neither another page in the browser nor another user of the machine can ask anything.
Nothing is fetched from anywhere else, and the browser is told to refuse it.
"""

from __future__ import annotations

import secrets
import socket
import threading
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.data.leakage import names_of
from pladapt.errors import BusyError, DataError, InputError, MissingDataError, PladaptError
from pladapt.functional.arrays import to_numpy
from pladapt.optional import needs
from pladapt.review.journal import Journal, Stroke
from pladapt.review.pictures import value_range
from pladapt.review.reviewing import Review
from pladapt.runs.answers import file_name
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pladapt.types import Sample, Samples

HOST: Final = "127.0.0.1"
"""The only address that is listened on."""

EXTRA: Final = "review"

_PAGE: Final = {
    "": ("index.html", "text/html"),
    "review.js": ("review.js", "text/javascript"),
    "tools.js": ("tools.js", "text/javascript"),
    "review.css": ("review.css", "text/css"),
}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STATUS: Final = ((BusyError, 409), (MissingDataError, 404), (DataError, 500), (InputError, 400))
_LARGEST: Final = 2**26  # bytes of a request
_COLOURS: Final = 3
_VOLUME: Final = 3


def new_token() -> str:
    """Return what nobody can guess."""
    return secrets.token_urlsafe(24)


class Desk:
    """What the page asks of a run.

    Args:
        run: The run folder.
        samples: Its images.
        positions: Where among them each sample stands, by its id.
        who: The reviewer's name.
        count: How many samples are looked at in a row.
    """

    def __init__(
        self,
        run: Path,
        samples: Samples[Sample],
        positions: Mapping[str, int],
        *,
        who: str,
        count: int,
    ) -> None:
        self._first = Review(run, who=who)
        self._samples, self._positions, self._count = samples, positions, count
        self._sessions: dict[str, Review] = {}
        self.lock = threading.Lock()

    def queue(self, _said: Mapping[str, Any]) -> dict[str, Any]:
        """Return what comes first, and what was said so far."""
        review = self._first
        answers = review.answers
        order = [id_ for id_ in review.queue(self._count) if id_ in self._positions]
        return {
            "run": review.run.resolve().name,
            "key": file_name(str(review.run.resolve())),
            "who": review.writer.who,
            "order": order,
            "samples": review.masks.ids,
            "groups": review.masks.groups,
            "decisions": {id_: answer.decision for id_, answer in answers.items()},
        }

    def sample(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of a sample."""
        review, id_ = self._review(said), str(said["id"])
        masks = review.masks.others(id_)
        answer = review.answers.get(id_)
        first = next(iter(masks.values()))
        return {
            "id": id_,
            "group": review.masks.groups[id_],
            "score": review.masks.scores[id_],
            "shape": [1, *first.shape] if first.ndim < _VOLUME else [*first.shape],
            "range": value_range(self._image(id_)),
            "values": max(int(mask[mask != IGNORE].max(initial=1)) for mask in masks.values()),
            "candidates": [*masks],
            "decision": None if answer is None else answer.decision,
            "strokes": max(0, len(Journal(review.run, id_).strokes()) - 1),
        }

    def image(self, said: Mapping[str, Any]) -> bytes:
        """Return a plane ``(H, W)`` or ``(3, H, W)`` as float32."""
        image = self._image(str(said["id"]))
        plane = image[:, self._plane(image, said)] if image.ndim > _VOLUME else image
        shown = plane if len(plane) == _COLOURS else plane[:1]
        return np.ascontiguousarray(shown, "<f4").tobytes()

    def mask(self, said: Mapping[str, Any]) -> bytes:
        """Return a mask as it is now, or that of a candidate, as uint8."""
        review, id_, name = self._review(said), str(said["id"]), str(said.get("candidate", ""))
        if not name:
            return review.mask(id_).tobytes()
        found = review.masks.others(id_)
        if name not in found:
            raise InputError(f"There is no candidate {name!r}; there are {[*found]}.")
        return found[name].tobytes()

    def stroke(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Take a stroke."""
        runs = tuple((int(first), int(length), int(value)) for first, length, value in said["runs"])
        self._review(said).draw(str(said["id"]), Stroke(str(said["key"]), runs))
        return self.sample(said)

    def answer(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Take an answer."""
        review, seconds = self._review(said), float(said.get("seconds", 0))
        act = {"accept": review.accept, "reject": review.reject}.get(str(said["decision"]))
        if act is None or not 0 <= seconds < float("inf"):
            raise InputError("Expected the decision accept or reject, and the seconds it took.")
        act(str(said["id"]), seconds=seconds)
        return self.sample(said)

    def undo(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Take back an answer or a stroke."""
        self._review(said).undo(str(said["id"]))
        return self.sample(said)

    def hold(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Hold a sample for this page."""
        self._review(said).hold(str(said["id"]))
        return {}

    def leave(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Let a sample go."""
        self._review(said).let_go(str(said["id"]))
        return {}

    def _review(self, said: Mapping[str, Any]) -> Review:
        session = str(said.get("session", ""))
        if session not in self._sessions:
            who, masks = self._first.writer.who, self._first.masks
            review = Review(self._first.run, who=who, session=session or None, masks=masks)
            self._sessions[session] = review
        return self._sessions[session]

    def _image(self, id_: str) -> np.ndarray[Any, Any]:
        if id_ not in self._positions:
            raise MissingDataError(f"There is no image of {id_!r} among those that were given.")
        return to_numpy(self._samples[self._positions[id_]].image)

    @staticmethod
    def _plane(image: np.ndarray[Any, Any], said: Mapping[str, Any]) -> int:
        plane = int(said.get("plane", 0))
        if not 0 <= plane < image.shape[1]:
            raise InputError(f"There is no slice {plane}; there are {image.shape[1]}.")
        return plane


def application(desk: Desk, token: str) -> Starlette:
    """Return the application.

    Args:
        desk: What it asks.
        token: What an address must begin with.

    Raises:
        MissingDependencyError: Starlette is not installed.
    """
    with needs(EXTRA, "starlette"):
        from starlette.applications import Starlette  # noqa: PLC0415 - an extra
        from starlette.middleware import Middleware  # noqa: PLC0415 - the same
        from starlette.routing import Route  # noqa: PLC0415 - the same
    reads = (desk.queue, desk.sample, desk.image, desk.mask)
    writes = (desk.stroke, desk.answer, desk.undo, desk.hold, desk.leave)
    routes = [Route(f"/{token}/{name}", partial(_file, *about)) for name, about in _PAGE.items()]
    for each in (*reads, *writes):
        method = "GET" if each in reads else "POST"
        path = f"/{token}/api/{each.__name__}"
        routes.append(Route(path, partial(_called, desk, each), methods=[method]))
    return Starlette(routes=routes, middleware=[Middleware(_Guard, token=token)])


async def _file(name: str, kind: str, _request: Request) -> Response:
    from starlette.responses import Response  # noqa: PLC0415 - an extra

    content = files("pladapt.review").joinpath("page", name).read_bytes()
    return Response(content, media_type=kind)


async def _called(
    desk: Desk, ask: Callable[[Mapping[str, Any]], Any], request: Request
) -> Response:
    """Ask with what a request says, and answer in JSON or bytes; errors say what was wrong."""
    from starlette.concurrency import run_in_threadpool  # noqa: PLC0415 - an extra
    from starlette.responses import JSONResponse, Response  # noqa: PLC0415 - the same

    try:
        said = await request.json() if request.method == "POST" else dict(request.query_params)
        found = await run_in_threadpool(_asked, desk, ask, said)
    except PladaptError as error:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        return JSONResponse({"error": str(error)}, status)
    except (KeyError, TypeError, ValueError) as error:
        return JSONResponse({"error": f"The request is not as expected: {error!r}."}, 400)
    if isinstance(found, bytes):
        return Response(found, media_type="application/octet-stream")
    return JSONResponse(found)


def _asked(desk: Desk, ask: Callable[[Mapping[str, Any]], Any], said: Mapping[str, Any]) -> Any:
    with desk.lock:  # what reads tables is of one thread at a time
        return ask(said)


class _Guard:
    """Answers nobody without the token, nor a page of elsewhere, and adds the headers."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.datastructures import Headers, MutableHeaders  # noqa: PLC0415 - an extra
        from starlette.responses import PlainTextResponse  # noqa: PLC0415 - the same

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        given = scope["path"].split("/")[1].encode()
        known = secrets.compare_digest(given, self._token)
        local = headers.get("host", "").partition(":")[0] in (HOST, "localhost")
        small = int(headers.get("content-length", "0")) <= _LARGEST
        if known and local and small:
            await self._app(scope, receive, with_headers)
        else:
            said = PlainTextResponse("Not found. Open the address that was printed.", 404)
            await said(scope, receive, with_headers)


def open_page(
    run: str | Path,
    samples: Samples[Sample],
    *,
    who: str,
    ids: Sequence[str] | None = None,
    count: int = 20,
    port: int = 8642,
    ready: Callable[[str], None],
) -> None:
    """Serve the page of a run's review until it is ended.

    Args:
        run: The run folder.
        samples: Its images, with the ids that they had there; more may be among them.
        who: The reviewer's name.
        ids: Theirs, in their order, where they are known; else each image is read once for it.
        count: How many samples are looked at in a row.
        port: Where on this machine.
        ready: Called with the address once it is served.

    Raises:
        MissingDataError: There is no run, or it has no masks.
        BusyError: Something else listens at this port.
        MissingDependencyError: Starlette or uvicorn is not installed.
    """
    known = [id_ for id_, _ in names_of(samples)] if ids is None else ids
    positions = {id_: place for place, id_ in enumerate(known)}
    token = new_token()
    app = application(Desk(Path(run), samples, positions, who=who, count=count), token)
    serve(app, port, ready=lambda: ready(f"http://{HOST}:{port}/{token}/"))


def serve(app: Starlette, port: int, *, ready: Callable[[], None]) -> None:
    """Serve until it is ended.

    Args:
        app: What `application` returned.
        port: Where.
        ready: Called once it listens.

    Raises:
        BusyError: Something else listens at this port.
        MissingDependencyError: uvicorn is not installed.
    """
    with needs(EXTRA, "uvicorn"):
        import uvicorn  # noqa: PLC0415 - an extra
    config = uvicorn.Config(
        app, HOST, port, log_level="warning", access_log=False, server_header=False
    )
    with _listening(port) as listening:
        ready()
        uvicorn.Server(config).run(sockets=[listening])


def _listening(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except OSError as error:
        made.close()
        raise BusyError(
            f"Port {port} of {HOST} cannot be used ({error.strerror}); give another (--port)."
        ) from error
    made.listen()
    return made
