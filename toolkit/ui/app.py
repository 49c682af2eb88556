"""The web application: pages, what they poll, the box, and who may ask.

It listens on loopback only. A request has to name a loopback host (else a page of the internet could read this one
through DNS rebinding), a question has to come from this origin, and a content security policy lets a page load its own
scripts and styles and nothing else.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eval.prompts import short_hash
from eval.redaction import redact_text
from rewards.core import UserError
from toolkit.page.render import REPORT, asset, fill
from toolkit.predict import FIELDS
from toolkit.ui import live
from toolkit.ui.asking import Asker, fields_of
from toolkit.ui.runs import Entry, Shelf, card_of

HOST = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
MOST_BYTES = 1 << 16  # of a question
ASSETS = {"style.css": "text/css", "ui.css": "text/css", "theme.js": "text/javascript", "ui.js": "text/javascript"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# The report has its scripts inside it, and may be a stranger's: it runs in an origin of its own and reaches nothing.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; frame-ancestors 'none'"
)


def application(shelf: Shelf, asker: Asker) -> ASGIApp:
    """The application over the runs of a shelf."""
    pages = Pages(shelf, asker)
    inner = Starlette(
        routes=[
            Route("/", pages.index),
            Route("/list", pages.cards),
            Route("/compare", pages.compare),
            Route("/run/{id}", pages.run),
            Route("/run/{id}/live", pages.live),
            Route("/run/{id}/samples", pages.samples),
            Route("/run/{id}/report", pages.report),
            Route("/ask", pages.ask, methods=["POST"]),
            Route("/ask/{id}", pages.answer),
            Route("/static/{name}", static),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
        exception_handlers={UserError: _refused, HTTPException: _refused, Exception: _failed},
    )
    return WithHeaders(inner)  # outside of everything, so that a failure has them too


def serve(roots: Sequence[Path], asker: Asker, port: int, terminal: TextIO) -> None:
    """Serve the page until Ctrl-C. Raises UserError when there is nothing to show, or the port is taken."""
    import uvicorn

    shelf = Shelf(roots)
    if not shelf.entries():
        raise UserError(f"no run and no finished evaluation in {', '.join(map(str, roots))}; `toolkit run` makes one")
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise UserError(f"port {port} can't be had: {error.strerror}; choose another with --port") from error
    with listening:
        shown = f"{len(shelf.entries())} runs and evaluations at http://{HOST}:{listening.getsockname()[1]}"
        print(f"{shown}; Ctrl-C ends it", file=terminal, flush=True)
        config = uvicorn.Config(application(shelf, asker), log_level="warning", access_log=False, server_header=False)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:  # the way that it is meant to end
            pass
        finally:
            asker.close()


class Pages:
    """The routes. Those that aren't async run in a pool of threads: none waits for a slow disk, or for a model."""

    def __init__(self, shelf: Shelf, asker: Asker) -> None:
        self.shelf, self.asker = shelf, asker

    def index(self, request: Request) -> Response:
        """The list of runs and evaluations."""
        return HTMLResponse(fill("ui_list.html.jinja", title="Runs", cards=self._cards()))

    def cards(self, request: Request) -> Response:
        """The list as a fragment."""
        html = fill("ui_cards.html.jinja", cards=self._cards())
        return _fragments(request, {"list": {"stamp": short_hash(html), "html": html}})

    def run(self, request: Request) -> Response:
        """One run: where it stands, the box, comparison, curves, samples. Its parts come by themselves."""
        entry = self._entry(request)
        run = entry.run() if entry.kind == "run" else None
        fields: tuple[str, ...] = ()
        problem = ""
        try:
            fields = fields_of(run.recipe.task) if run else ()
        except UserError as error:
            problem = str(error)
        page = fill("ui_run.html.jinja", title=entry.name, entry=entry, run=run, fields=fields, ask_problem=problem)
        return HTMLResponse(page)

    def live(self, request: Request) -> Response:
        """The parts of a run's page that changed since the stamps that it names."""
        entry = self._entry(request)
        known = request.query_params
        parts: dict[str, Callable[[], dict[str, str]]] = {
            "status": lambda: live.status(entry),
            "curves": lambda: live.curves(entry, known.get("curves", "")),
            "results": lambda: live.results([entry], known.get("results", "")),
        }
        return _fragments(request, {name: _or_problem(part) for name, part in parts.items()})

    def samples(self, request: Request) -> Response:
        """Rollouts of the step at a place of the training: `at` from 0 to 1."""
        text = request.query_params.get("at", "1")
        try:
            place = float(text)
        except ValueError:
            place = -1.0
        if not 0 <= place <= 1:
            raise UserError(f"at={text!r}: a place is a number from 0 to 1")
        return JSONResponse(live.samples(self._entry(request), place))

    def report(self, request: Request) -> Response:
        """The report that the run wrote, as it is."""
        path = self._entry(request).checked().dir / REPORT
        if not path.is_file():
            raise HTTPException(404, f"{path} isn't written yet: `toolkit report {path.parent}` does it")
        return FileResponse(path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})

    def compare(self, request: Request) -> Response:
        """Several runs or evaluations: verdicts, learning curves and flips of the main pair."""
        entries = [self._found(each) for each in request.query_params.getlist("run")]
        if len(set(entries)) < 2:
            raise UserError("choose two or more in the list, and compare them then")
        results = Markup(live.results(entries, "")["html"])
        names = ", ".join(each.name for each in entries)
        return HTMLResponse(fill("ui_compare.html.jinja", title=f"Compared: {names}", results=results))

    async def ask(self, request: Request) -> Response:
        """Put a question in line; give its id and state. The body: {run, text, date, time, offset}."""
        body = await _question(request)
        entry = await run_in_threadpool(self._found, body["run"])
        when = {name: body.get(name, "") for name in FIELDS}
        question = await run_in_threadpool(lambda: self.asker.ask(entry.run(), body["text"], when))
        return JSONResponse(question.to_json(), 202)

    def answer(self, request: Request) -> Response:
        """How far a question is."""
        question = self.asker.questions.get(request.path_params["id"])
        if question is None:
            raise HTTPException(404, "that question isn't known any more; ask it again")
        return JSONResponse(question.to_json())

    def _cards(self) -> list[Any]:
        return [card_of(each) for each in self.shelf.entries()]

    def _entry(self, request: Request) -> Entry:
        return self._found(request.path_params["id"])

    def _found(self, entry_id: str) -> Entry:
        entry = self.shelf.entry(entry_id)
        if entry is None:
            raise HTTPException(404, "no such run here; the list has those that there are")
        return entry


async def _question(request: Request) -> dict[str, str]:
    """The body of a question. A form or a script of another site can't send one: it may not set this type."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "a question has to come from this page")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "a question is application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"a question has at most {MOST_BYTES} bytes")
    try:
        found = json.loads(body)
    except ValueError as error:
        raise UserError(f"the question isn't JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UserError("a question is an object of texts: run, text, date, time, offset")
    if missing := sorted({"run", "text"} - found.keys()):
        raise UserError(f"the question lacks {missing[0]!r}")
    return found


def static(request: Request) -> Response:
    """A style or a script of ours, by its name; no path."""
    name = request.path_params["name"]
    if name not in ASSETS:
        raise HTTPException(404, "no such file")
    return Response(asset(name), media_type=ASSETS[name])


def _fragments(request: Request, parts: Mapping[str, Mapping[str, str]]) -> Response:
    """Each part's stamp, and its HTML where the page has another stamp."""
    known = request.query_params
    return JSONResponse(
        {
            name: {key: value for key, value in part.items() if key == "stamp" or part["stamp"] != known.get(name)}
            for name, part in parts.items()
        }
    )


def _or_problem(part: Callable[[], dict[str, str]]) -> dict[str, str]:
    """A part, or its problem in its place: one broken file leaves the rest of the page."""
    try:
        return part()
    except UserError as error:
        html = fill("ui_problem.html.jinja", problem=redact_text(str(error)))
        return {"stamp": short_hash(html), "html": html}


def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    said = error.detail if isinstance(error, HTTPException) else str(error)
    return _said(request, status, said)


def _failed(request: Request, error: Exception) -> Response:
    return _said(request, 500, f"the page failed: {type(error).__name__}; ui.log in the toolkit's cache has the rest")


def _said(request: Request, status: int, problem: str) -> Response:
    """An error in words: a page for a person, JSON for a script."""
    problem = redact_text(problem)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(fill("ui_error.html.jinja", title="That didn't work", problem=problem), status)
    return JSONResponse({"error": problem}, status)


class WithHeaders:
    """Puts HEADERS on every response that doesn't say otherwise itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(each for each in ours if each[0] not in there)]
            await send(message)

        await self.app(scope, receive, with_headers)
