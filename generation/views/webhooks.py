"""Webhooks of remote services."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from generation.services.remote import submissions

MAX_BYTES = 4 * 1024 * 1024
"""Room for a prediction's input with data URLs, the addresses of its output and its log."""


@csrf_exempt  # no browser and no session: the signature identifies the sender
@require_POST
def replicate(request: HttpRequest, endpoint: str, marker: uuid.UUID) -> HttpResponse:
    """Receive a webhook of Replicate: 204 with a valid signature, else 401, whether or not the prediction is known."""
    length = request.headers.get("Content-Length", "")
    if length.isascii() and length.isdecimal() and (len(length) > 9 or int(length) > MAX_BYTES):
        return HttpResponse(status=413)
    headers = {name.lower(): value for name, value in request.headers.items()}
    is_ours = submissions.receive_webhook(slug=endpoint, marker=marker, headers=headers, body=request.body)
    return HttpResponse(status=204 if is_ours else 401)
