"""Addresses that need no login: the file of an image feed by its key, and images of feeds by their signature."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import http_date
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from core import stored_files
from review.image_feeds.base import LAYOUTS
from review.models import ImageFeed
from review.selectors import feed_products, image_feeds, public_files
from review.services import image_feed_files, marked_files
from review.services import image_feeds as services
from review.services.web_slots import SlottedChunks

IMAGE_SECONDS = 3600
"""The time for which a cache may show an image that was recalled meanwhile."""


@require_safe
@gzip_page
def feed(request: HttpRequest, pk: int, suffix: str) -> HttpResponseBase:
    """Return the file of an image feed; `?key=` is the secret of its address. 304 if it is as the receiver has it."""
    found = image_feeds.get_by_address(pk, request.GET.get("key", ""))
    tag = feed_products.content_tag(found)
    changed_at = int(services.record_content(found, tag).timestamp())
    headers = {"ETag": f'"{tag}"', "Last-Modified": http_date(changed_at), "Cache-Control": "private, no-cache"}
    unchanged = get_conditional_response(request, etag=headers["ETag"], last_modified=changed_at)
    answer = unchanged or _send(request, found)
    for name, value in headers.items():
        answer[name] = value
    return answer


def _send(request: HttpRequest, found: ImageFeed) -> HttpResponseBase:
    """Return the file as a stream; for HEAD nothing of it is read."""
    media_type = LAYOUTS.get(found.layout).media_type
    if request.method == "HEAD":
        return HttpResponse(content_type=media_type)
    chunks = SlottedChunks(image_feed_files.stream(found))
    return StreamingHttpResponse(chunks, content_type=media_type, headers={"X-Accel-Buffering": "no"})


@require_safe
def image(request: HttpRequest, name: str) -> HttpResponseBase:
    """Return a file of an approved image. 410: it was approved once and may no longer be used."""
    rendition = public_files.get_public_file(name)
    file = marked_files.get_pulled_file(rendition)
    tag = f'"{file.sha256}"'
    unchanged = get_conditional_response(request, etag=tag)
    answer = unchanged or stored_files.file_response(file.storage_key)
    answer["ETag"] = tag
    answer["Cache-Control"] = f"public, max-age={IMAGE_SECONDS}"
    return answer
