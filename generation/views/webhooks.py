"""Receivers of the webhooks of services."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from generation.services.remote import webhooks

MOST_BYTES = 4 * 1024 * 1024
"""A prediction's input, data URLs included, its output's addresses and its log."""


@csrf_exempt  # no browser and no session: who sends it shows by its signature
@require_POST
def replicate(request: HttpRequest, endpoint: str, marker: uuid.UUID) -> HttpResponse:
    """A webhook of Replicate: 204 if it is signed, 401 if not, whatever it says and whether or not we know of it."""
    length = request.headers.get("Content-Length", "")
    if length.isascii() and length.isdecimal() and (len(length) > 9 or int(length) > MOST_BYTES):
        return HttpResponse(status=413)
    headers = {name.lower(): value for name, value in request.headers.items()}
    is_ours = webhooks.receive(slug=endpoint, marker=marker, headers=headers, body=request.body)
    return HttpResponse(status=204 if is_ours else 401)
