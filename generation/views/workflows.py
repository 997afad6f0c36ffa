"""The page of a ComfyUI endpoint's workflow: upload it, mark its inputs, check it against the servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from core.errors import Invalid, NotFound
from core.pages import BrandRequest, brand_page
from generation.engines.comfyui.marks import NAMES
from generation.models import Endpoint
from generation.selectors import workflows as selectors
from generation.services.endpoints import editing, health
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
        health.request_workflow_check(endpoint_id=endpoint.pk, by=request.user)
        return redirect("workflow", request.brand.slug, slug)
    try:
        if verb == "upload":
            _upload(request, endpoint)
        elif verb == "mark":
            _mark(request, endpoint)
        else:
            raise NotFound(_("There is no action %(verb)r for a workflow.") % {"verb": verb})
    except Invalid as refusal:
        return _page(request, endpoint, refusal=refusal)
    return redirect("workflow", request.brand.slug, slug)


def _upload(request: BrandRequest, endpoint: Endpoint) -> None:
    if (file := request.FILES.get("file")) is None:
        raise Invalid(_("Choose the file that ComfyUI exported."))
    data = file.read(services.MAX_BYTES + 1)
    services.upload(endpoint_id=endpoint.pk, by=request.user, data=data, file_name=str(file.name))
    messages.success(request, _("The workflow is there. Look at what was marked, then check it against the server."))


def _mark(request: BrandRequest, endpoint: Endpoint) -> None:
    services.mark(
        endpoint_id=endpoint.pk,
        by=request.user,
        seen=request.POST.get("seen", ""),
        names=_inputs(request.POST, "mark"),
        output_node=request.POST.get("output_node", ""),
        name=request.POST.get("name", ""),
        meant=list(_inputs(request.POST, "meant")),
    )
    messages.success(request, _("The marks are saved. Images planned from now on are made with them."))


def _inputs(posted: Mapping[str, Any], kind: str) -> dict[tuple[str, str], str]:
    """Return (node id, input) -> the value of form fields such as "mark|6|text" (kind "mark")."""
    parts = ((key.split("|", 2), value) for key, value in posted.items())
    return {(part[1], part[2]): str(value) for part, value in parts if part[0] == kind and len(part) == 3}


def _page(request: BrandRequest, endpoint: Endpoint, *, refusal: Invalid | None = None) -> HttpResponseBase:
    kept = request.POST.items() if refusal else ()
    typed = {key: value for key, value in kept if key.startswith(("mark|", "meant|"))}
    wrong = {problem.pointer: problem.message for problem in refusal.problems} if refusal else {}
    elsewhere = [message for pointer, message in wrong.items() if not pointer.startswith("mark|")]
    context = {
        "endpoint": endpoint,
        "shown": selectors.load_details(endpoint),
        "checked": health.get_latest_workflow_check(endpoint),
        "poll": ANSWER_SECONDS,
        "refusal": refusal,
        "sentences": elsewhere or ([refusal.message] if refusal and not wrong else []),
        "typed": typed,
        "wrong": wrong,
        "names": NAMES,
        "may_edit": editing.can_edit(request.user, endpoint),
    }
    return render(request, "generation/workflow.html", context, status=422 if refusal else 200)
