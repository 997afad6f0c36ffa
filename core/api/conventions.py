"""Conventions of every resource of the API: replayed creates, entity tags on changes, and the caller as a User."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from core import access
from core.errors import Conflict, DomainError, Invalid, NotFound, Problem, Stale
from core.models import Brand, StoredResponse, User
from core.pages import parse_row_id
from core.selectors import brands

KEY_HEADER = "Idempotency-Key"
KEY_LIFETIME = timedelta(hours=24)
ABANDONED_AFTER = timedelta(minutes=10)

View = Callable[..., Response]
Row = TypeVar("Row", bound=Model)


class PreconditionRequired(DomainError):
    """A change without If-Match could overwrite a change that somebody else has just made."""

    status = 428
    title = gettext_noop("Say what you saw")


def get_caller(request: Request) -> User:
    """Return the signed-in person or integration; the roles are read once in each request."""
    assert isinstance(request.user, User)
    if not hasattr(request, "has_roles"):
        request.user.remember_roles()
        request.has_roles = True  # type: ignore[attr-defined]
    return request.user


def get_brand(request: Request) -> Brand:
    """Return the brand that `?brand=` names. Raises NotFound, also for a brand in which the caller has no role."""
    return brands.get(get_caller(request), request.query_params.get("brand", ""))


class BrandRowsViewSet(viewsets.ReadOnlyModelViewSet[Row]):
    """Base of viewsets that list and return the rows of the caller's brands."""

    def get_queryset(self) -> QuerySet[Row]:
        rows: Any = super().get_queryset()
        visible: QuerySet[Row] = rows.visible_to(get_caller(self.request))
        return visible


def read_input(
    kind: type[serializers.Serializer[Any]], request: Request, *, is_partial: bool = False
) -> dict[str, Any]:
    """Return the validated values of the request's body. Raises ValidationError.

    is_partial: fields that are not given are left out, and not one is required.
    """
    serializer = kind(data=request.data, partial=is_partial, context={"request": request})
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def idempotent(view: View) -> View:
    """Decorator for creates: a request with the same Idempotency-Key within 24 hours gets the first response again.

    It gets 409 while the first is still running, 422 if the key was used for another request, and 403 or 404 if the
    caller no longer has the rights that the first request needed. Without the header nothing is stored.
    """

    @wraps(view)
    def replayed(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get(KEY_HEADER, "")
        if not key:
            return view(self, request, *args, **kwargs)
        if len(key) > 255:
            raise Invalid(_("%(header)s is longer than 255 characters.") % {"header": KEY_HEADER})
        stored = _claim_key(get_caller(request), key, _digest(request))
        if stored.status_code is not None:
            _ensure_still_allowed(get_caller(request), stored)
            headers = {**stored.headers, "Idempotency-Replayed": "true"}
            return Response(stored.body, status=stored.status_code, headers=headers)
        try:
            with access.record_required_rights() as rights:
                response = view(self, request, *args, **kwargs)
        except BaseException:
            stored.delete()
            raise
        stored.status_code = response.status_code
        stored.body = json.loads(json.dumps(response.data, cls=JSONEncoder))
        stored.headers = {name: response[name] for name in ("Location", "ETag") if name in response}
        stored.rights = rights
        stored.save(update_fields=["status_code", "body", "headers", "rights"])
        return response

    return replayed


def _ensure_still_allowed(user: User, stored: StoredResponse) -> None:
    """Raise NotFound or NotAllowed unless the caller still has the rights that the first request needed."""
    if stored.rights is None:  # stored by an earlier version, which did not record them
        sentence = _("This key was used before an update; check whether the first request succeeded.")
        raise Conflict(sentence, key=stored.key)
    brands = Brand.objects.visible_to(user).in_bulk([brand_id for _action, brand_id in stored.rights])
    for action, brand_id in stored.rights:
        if brand_id not in brands:
            raise NotFound(_("This key was used in a brand in which you have no role."))
        access.require(user, access.Action(action), brands[brand_id])


def _claim_key(user: User, key: str, digest: str) -> StoredResponse:
    now = timezone.now()
    is_over = Q(created_at__lt=now - KEY_LIFETIME) | Q(status_code=None, created_at__lt=now - ABANDONED_AFTER)
    with transaction.atomic():
        StoredResponse.objects.filter(is_over, user=user, key=key).delete()
        stored, is_new = StoredResponse.objects.get_or_create(user=user, key=key, defaults={"request_sha256": digest})
    if stored.request_sha256 != digest:
        raise Invalid(_("This %(header)s was used for another request.") % {"header": KEY_HEADER}, key=key)
    if not is_new and stored.status_code is None:
        raise Conflict(_("The first request with this key is still running; ask again in a moment."), key=key)
    return stored


def _digest(request: Request) -> str:
    """Return a digest of method, path, parsed body and the content of uploaded files."""
    whole = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    for name, file in sorted(request.FILES.items()):
        whole.update(name.encode())
        for chunk in file.chunks():
            whole.update(chunk)
        file.seek(0)
    data = request.data if isinstance(request.data, Mapping) else {"": request.data}
    plain = {name: value for name, value in dict(data).items() if name not in request.FILES}
    whole.update(json.dumps(plain, sort_keys=True, default=str).encode())
    return whole.hexdigest()


def etag(representation: Any) -> str:
    """Return a strong entity tag for the JSON that the caller sees."""
    plain = json.dumps(representation, sort_keys=True, cls=JSONEncoder)
    return f'"{hashlib.sha256(plain.encode()).hexdigest()[:32]}"'


def response_with_etag(representation: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(representation, status=status, headers={"ETag": etag(representation), **(headers or {})})


def ensure_match(request: Request, representation: Any) -> None:
    """Raise unless If-Match matches the current state. Call it in the changing transaction, with the row locked."""
    if_match = request.headers.get("If-Match", "")
    if not if_match:
        raise PreconditionRequired(_("Send If-Match with the ETag of what you saw, so that nobody's change is lost."))
    current = etag(representation)
    if if_match != "*" and current not in [tag.strip() for tag in if_match.split(",")]:
        raise Stale(_("It was changed since you read it; read it again."), etag=current)


def read_whole_number(request: Request, name: str, default: int, *, most: int) -> int:
    """Return a number of the query string, or `default` without one. Raises Invalid above `most`."""
    raw = request.query_params.get(name, str(default))
    if parse_row_id(raw) is None or int(raw) > most:
        sentence = _("%(name)s must be a whole number up to %(most)d.") % {"name": name, "most": most}
        raise Invalid(sentence, [Problem(f"?{name}", _("not such a number"), raw)])
    return int(raw)
