"""The ML backend that Label Studio asks, and the webhook that it tells: `/health /setup /predict /webhook`.

`/predict` without a context gives the pre-labels of a picture; with the click or box that somebody just drew it gives
the mask of that one thing. `/webhook` fetches finished work, from the server itself: what a delivery says is not
believed, so that the same one five times is one row. Callers show the secret of the `Studio`, as basic
authentication (Label Studio's ML calls) or as a header (its webhooks).

    app = create_app(prompter, studio, out=Path("data/annotated"))
"""

from __future__ import annotations

import hmac
import logging
import threading
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from sam3.errors import BadInput, Sam3AgentError, Unavailable
from sam3.images import read_image, resolve_inside
from sam3_agent.annotation.prompting import Prompter
from sam3_agent.annotation.pull import ANNOTATED, concept_of, pull
from sam3_agent.annotation.push import SECRET_HEADER
from sam3_agent.annotation.shapes import BOX, CLICK, IMAGE, mask_region, outlines_of
from sam3_agent.annotation.studio import Studio

LARGEST = 8_000_000  # bytes of a request; brushes of large pictures are long
BELIEVED = 0.5  # pre-labels on demand, as in a mined batch
_log = logging.getLogger(__name__)


def create_app(
    prompter: Callable[[], Prompter], studio: Callable[[], Studio], out: Path = ANNOTATED, *, how: str = "auto"
) -> FastAPI:
    """The backend.

    Args:
        prompter: gives the model; called at the first question, so that the server is up at once.
        studio: gives the Label Studio to fetch from, as it is known now.
        out: where annotated batches go. how: pre-labels as "polygon", "brush" or "auto".
    """
    app = FastAPI(title="sam3-agent annotation backend", docs_url=None, redoc_url=None)

    @app.exception_handler(Sam3AgentError)
    async def mendable(_: Request, error: Sam3AgentError) -> JSONResponse:
        status = 503 if isinstance(error, Unavailable) else 400
        return JSONResponse({"error": {"code": error.code, "message": str(error), "field": error.field}}, status)

    @app.get("/health")
    @app.get("/")
    async def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "sam3"}

    @app.post("/setup")
    async def setup(request: Request) -> Any:
        await _body(request, studio().secret)
        # Label Studio waits three seconds here: the model is loaded beside, each prediction says its version
        threading.Thread(target=prompter, daemon=True).start()
        return {"model_version": "sam3-agent"}

    @app.post("/predict")
    async def predict(request: Request) -> Any:
        body = await _body(request, studio().secret)
        held = studio()
        return {"results": await run_in_threadpool(lambda: predictions(body, prompter(), held.files, how))}

    @app.post("/webhook")
    async def webhook(request: Request) -> Any:
        body = await _body(request, studio().secret)
        project = (body.get("project") or {}).get("id") if isinstance(body.get("project"), dict) else None
        if not isinstance(project, int):
            return {"taken": 0}  # of the ML backend's own events: nothing to do
        report = await run_in_threadpool(pull, studio(), out, project=project)
        for one in report.deliveries:
            for problem in one.refused:
                _log.warning("%s: %s", one.batch, problem)
        return {"taken": report.new + report.updated}

    return app


async def _body(request: Request, secret: str) -> dict[str, Any]:
    """The JSON of a request whose sender knows the secret.

    Raises:
        BadInput: they do not, or it is too large or not an object.
    """
    given = request.headers.get(SECRET_HEADER, "")
    basic = request.headers.get("authorization", "")
    if not given and basic.lower().startswith("basic "):
        try:
            given = b64decode(basic[6:]).decode().partition(":")[2]
        except ValueError:
            given = ""
    if not secret or not hmac.compare_digest(given.encode(), secret.encode()):
        raise BadInput("the secret is wrong or missing. Connect the project again: sam3-agent annotate push")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > LARGEST:
            raise BadInput(f"a request of more than {LARGEST / 1e6:.0f} MB.")
    import json

    try:
        body = json.loads(bytes(data) or b"{}")
    except ValueError as error:
        raise BadInput(f"the request is not JSON ({error}).") from error
    if not isinstance(body, dict):
        raise BadInput("the request is not a JSON object.")
    return body


def predictions(body: dict[str, Any], prompter: Prompter, files: Path, how: str) -> list[dict[str, Any]]:
    """One prediction for each task of a request, in Label Studio's words; an empty one where nothing was found.

    Raises:
        BadInput: a picture that is not in `files`, or a config that is not ours.
    """
    concept = concept_of(str(body.get("label_config") or ""))
    context = (body.get("params") or {}).get("context") or {}
    out = []
    for task in body.get("tasks") or ():
        named = parse_qs(urlsplit(str((task.get("data") or {}).get(IMAGE, ""))).query).get("d", [""])[0]
        path = resolve_inside(files, named)
        image, key = read_image(path), str(path)
        if context.get("result"):
            regions = _prompted(prompter, key, image, concept, context["result"][-1], how)
        else:
            seen = prompter.prelabels(key, image, concept)
            made = [(mask_region(seen.masks[at], concept, how), float(seen.scores[at])) for at in range(len(seen))]
            regions = [{**region, "score": round(s, 4)} for region, s in made if region is not None and s >= BELIEVED]
        score = max((region["score"] for region in regions), default=0.0)
        out.append({"result": regions, "score": score, "model_version": prompter.version})
    return out


def _prompted(
    prompter: Prompter, key: str, image: Any, concept: str, drawn: dict[str, Any], how: str
) -> list[dict[str, Any]]:
    """The region of the one thing that somebody points at."""
    height, width = image.shape[:2]
    value, kind = drawn.get("value") or {}, drawn.get("type", "")
    try:
        if kind.startswith("rectangle") or drawn.get("from_name") == BOX:
            [corners] = outlines_of({**drawn, "type": "rectangle"}, width, height) or []
            (x, y), (right, bottom) = corners.min(0), corners.max(0)  # it may be drawn turned
            hit = prompter.in_box(key, image, concept, (float(x), float(y), float(right), float(bottom)))
        elif kind.startswith("keypoint") or drawn.get("from_name") == CLICK:
            x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
            hit = prompter.at_click(key, image, concept, x, y)
        else:
            raise BadInput(f"a {kind} is no prompt; expected a click or a box.", field="context")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"a {kind} without usable numbers ({error}).", field="context") from error
    region = None if hit is None else mask_region(hit[0], concept, how)
    return [] if region is None or hit is None else [{**region, "score": round(hit[1], 4)}]
