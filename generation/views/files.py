"""The bytes of pictures, for people who may see them: what was made, reference photos, cut-outs, guides and briefs."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.views.decorators.http import require_safe

from campaigns.services import previews
from core import access, stored_files
from core.access import Action
from generation.models import AssetVersion, Rendition
from generation.selectors import images


@login_required
@require_safe
def picture(request: Any, kind: str, pk: int) -> HttpResponseBase:
    """One stored picture. `?px=` asks for a small copy of at least that edge, `?download=` for a file name;
    `?v=` is the content's hash and makes the address immutable."""
    found = images.find(request.user, kind, pk)
    is_pinned = kind == "version" or bool(found and request.GET.get("v", "") == found.sha256[:12])
    if isinstance(found, AssetVersion):  # by version where a page knows no master; it never points at another one
        found = found.master
    if found is None or not found.storage_key:
        raise Http404("There is no such picture.")
    if isinstance(found, Rendition):  # a file as it leaves the house, released or not: as the API has it
        access.require(request.user, Action.PULL, found.version.asset.brand)
    key = _key(found, request.GET.get("px", ""))
    tag = f'"{key.rsplit("/", 1)[-1].split(".")[0]}"'
    if request.headers.get("If-None-Match") == tag:
        answer: HttpResponseBase = HttpResponseNotModified(headers={"ETag": tag})
    else:
        answer = stored_files.response(key, download_name=request.GET.get("download", ""))
    answer["Cache-Control"] = "private, max-age=31536000, immutable" if is_pinned else "private, no-cache"
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def opened(request: HttpRequest, token: str) -> HttpResponse | HttpResponseBase:
    """A file by an expiring signed address that somebody with the right to it was given."""
    key, name = stored_files.opened(token)
    return stored_files.response(key, download_name=name)


def _key(found: Any, px: str) -> str:
    """The stored file to send: the original, one of the master's own thumbnails, or a small copy."""
    if not (px.isascii() and px.isdecimal() and len(px) <= 4):
        return str(found.storage_key)
    made = {int(edge): key for edge, key in getattr(found, "thumbnails", {}).items()}
    fitting = [edge for edge in made if edge >= int(px)]
    if fitting:
        return str(made[min(fitting)])
    return previews.small(found.storage_key, int(px))
