"""Addresses that are no pages: image files for people who may see them, and webhooks of remote services."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from campaigns.services.images import get_small_copy
from core import access, stored_files
from core.access import Action
from core.pages import parse_row_id
from generation.models import AssetVersion, Rendition
from generation.selectors import images
from generation.services.remote import submissions

MAX_EDGE = 9999
#: Room for a prediction's input with data URLs, the addresses of its output and its log.
MAX_WEBHOOK_BYTES = 4 * 1024 * 1024


@login_required
@require_safe
def image(request: Any, kind: str, pk: int) -> HttpResponseBase:
    """Return one stored image. `?px=` asks for a small copy with at least that edge; `?v=` is the content's hash and
    makes the address immutable. Files that leave Proofline have marks of origin and another address."""
    stored = images.find(request.user, kind, pk)
    is_pinned = kind == "version" or bool(stored and request.GET.get("v", "") == stored.sha256[:12])
    if isinstance(stored, AssetVersion):  # for pages that have no master; a version never changes its master
        stored = stored.master
    if stored is None or not stored.storage_key:
        raise Http404(_("There is no such image."))
    if isinstance(stored, Rendition):  # a file to deliver needs the same right as in the API
        access.require(request.user, Action.PULL, stored.version.asset.brand)
    edge = parse_row_id(request.GET.get("px", ""))
    key = str(stored.storage_key) if edge is None or edge > MAX_EDGE else find_small_copy(stored, edge)
    tag = f'"{key.rsplit("/", 1)[-1].split(".")[0]}"'
    if request.headers.get("If-None-Match") == tag:
        answer: HttpResponseBase = HttpResponseNotModified(headers={"ETag": tag})
    else:
        answer = stored_files.file_response(key)
    answer["Cache-Control"] = "private, max-age=31536000, immutable" if is_pinned else "private, no-cache"
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def signed_file(request: HttpRequest, token: str) -> HttpResponseBase:
    """Return a file by its expiring signed address, which a person with the right to the file was given."""
    return stored_files.file_response(stored_files.parse_open_url(token))


def find_small_copy(stored: Any, edge: int) -> str:
    """Return the key of the smallest thumbnail with at least that edge, or else of a copy that is made."""
    fitting = {int(px): str(key) for px, key in getattr(stored, "thumbnails", {}).items() if int(px) >= edge}
    return fitting[min(fitting)] if fitting else get_small_copy(stored.storage_key, edge)


@csrf_exempt  # no browser and no session: the signature identifies the sender
@require_POST
def replicate(request: HttpRequest, endpoint: str, marker: uuid.UUID) -> HttpResponse:
    """Receive a webhook of Replicate: 204 with a valid signature, else 401, whether or not the prediction is known."""
    length = request.headers.get("Content-Length", "")
    if length.isascii() and length.isdecimal() and (len(length) > 9 or int(length) > MAX_WEBHOOK_BYTES):
        return HttpResponse(status=413)
    headers = {name.lower(): value for name, value in request.headers.items()}
    is_ours = submissions.receive_webhook(slug=endpoint, marker=marker, headers=headers, body=request.body)
    return HttpResponse(status=204 if is_ours else 401)
