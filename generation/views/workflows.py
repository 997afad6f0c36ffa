"""The page of a ComfyUI endpoint's workflow: upload it, mark its inputs, check it against the servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render

from core.errors import Invalid, NotFound
from core.pages import BrandRequest, brand_page
from generation.engines.comfyui.marks import NAMES
from generation.models import Endpoint
from generation.selectors import workflows as selectors
from generation.services.endpoints import editing, workflow_checks
from generation.services.endpoints import workflows as services

#: Seconds between two polls of a running check.
ANSWER_SECONDS = 1


@brand_page()
def page(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show the endpoint's workflow and the inputs that a job fills; POST uploads, marks or checks it."""
    endpoint = selectors.get(request.brand, request.user, slug)
    if request.method != "POST":
        return _page(request, endpoint)
    verb = request.POST.get("do", "")
    if verb == "check":
        workflow_checks.request_check(endpoint_id=endpoint.pk, by=request.user)
        return redirect("workflow", request.brand.slug, slug)
    try:
        if verb == "upload":
            _upload(request, endpoint)
        elif verb == "mark":
            _mark(request, endpoint)
        else:
            raise NotFound(f"There is no action {verb!r} for a workflow.")
    except Invalid as refusal:
        return _page(request, endpoint, refusal=refusal)
    return redirect("workflow", request.brand.slug, slug)


def _upload(request: BrandRequest, endpoint: Endpoint) -> None:
    file = request.FILES.get("file")
    if file is None:
        raise Invalid("Choose the file that ComfyUI exported.")
    data = file.read(services.MAX_BYTES + 1)
    services.upload(endpoint_id=endpoint.pk, by=request.user, data=data, file_name=str(file.name))
    messages.success(request, "The workflow is there. Look at what was marked, then check it against the server.")


def _mark(request: BrandRequest, endpoint: Endpoint) -> None:
    services.mark(
        endpoint_id=endpoint.pk,
        by=request.user,
        seen=request.POST.get("seen", ""),
        names=_names(request.POST),
        output_node=request.POST.get("output_node", ""),
        name=request.POST.get("name", ""),
        meant=_list_confirmed_inputs(request.POST),
    )
    messages.success(request, "The marks are saved. Images planned from now on are made with them.")


def _names(posted: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return (node id, input) -> the entered name, from form fields such as "mark|6|text"."""
    parts = ((key.split("|", 2), value) for key, value in posted.items() if key.startswith("mark|"))
    return {(part[1], part[2]): str(value) for part, value in parts if len(part) == 3}


def _list_confirmed_inputs(posted: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (node id, input) of ticked form fields such as "meant|6|text"."""
    parts = (key.split("|", 2) for key in posted if key.startswith("meant|"))
    return [(part[1], part[2]) for part in parts if len(part) == 3]


def _page(request: BrandRequest, endpoint: Endpoint, *, refusal: Invalid | None = None) -> HttpResponseBase:
    kept = ("mark|", "meant|")
    typed = {key: value for key, value in request.POST.items() if key.startswith(kept)} if refusal else {}
    wrong = {problem.pointer: problem.message for problem in refusal.problems} if refusal else {}
    shown = selectors.load_details(endpoint)
    elsewhere = [message for pointer, message in wrong.items() if not pointer.startswith("mark|")]
    context = {
        "endpoint": endpoint,
        "shown": shown,
        "checked": workflow_checks.get_latest_check(endpoint),
        "poll": ANSWER_SECONDS,
        "refusal": refusal,
        "sentences": elsewhere or ([refusal.message] if refusal and not wrong else []),
        "typed": typed,
        "wrong": wrong,
        "names": NAMES,
        "may_edit": editing.can_edit(request.user, endpoint),
    }
    return render(request, "generation/workflow.html", context, status=422 if refusal else 200)
