"""Requests that only scripts of the pages send; they are listed here because no link or form shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from core.models import Brand
from generation.models import Cell, Run
from review import pins
from review.models import Decision, ReviewTask
from tests.fuzz.crawling import route_of
from tests.fuzz.sending import Request


def requests() -> Iterator[Request]:
    """Yield valid requests of the scripts of the review workspace and the run page."""
    base = f"/brands/{Brand.objects.get(slug='north').slug}/review"
    task = ReviewTask.objects.filter(state="open").order_by("pk").first()
    assert task is not None
    version = task.asset.versions.order_by("candidate").first()
    assert version is not None
    seen = {"version": version.pk, "seen": pins.current_state(version, task).token, "note": "So"}
    for verb, more in (
        ("approve", {"answers": {}}),
        ("reject", {"reason": "composition"}),
        ("revise", {"reason": "composition", "controls": {}, "retouch": False}),
        ("skip", {}),
    ):
        yield _posted(f"{base}/tasks/{task.pk}/{verb}/", {**seen, **more})
    decision = Decision.objects.latest("pk")
    yield _posted(f"{base}/decisions/{decision.pk}/undo/", {"withdraws": True})
    yield _posted(f"{base}/more/", {"known": [task.pk]})
    cell = Cell.objects.filter(run=Run.objects.get(pk=task.asset.cell.run_id)).first()
    assert cell is not None
    page = f"/brands/north/runs/{cell.run_id}"
    yield _request("GET", f"{page}/cells/{cell.pk}/")
    yield _request("POST", f"{page}/live/", form={"cells": f"{cell.pk}-x", "head": ""})


def _posted(path: str, body: dict[str, Any]) -> Request:
    return _request("POST", path, json=json.dumps(body), role="reviewer")


def _request(method: str, path: str, **more: Any) -> Request:
    route = route_of(path)
    assert route is not None, path
    return Request(method, route, path, **more)
