"""Reads what a request of the API may contain: storable bodies, cursors, and rows of the caller's brands."""

from __future__ import annotations

from typing import IO, Any, NoReturn, cast

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _
from rest_framework import parsers, serializers
from rest_framework.exceptions import ParseError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from core import storable
from core.errors import Invalid, NotFound
from core.models import User
from core.pages import parse_row_id

MAX_BODY_BYTES = 20 * 1024 * 1024


def read_text(stream: IO[bytes]) -> str:
    """Read a whole body as UTF-8; raises Invalid if it has more than MAX_BODY_BYTES."""
    data = stream.read(MAX_BODY_BYTES + 1)
    if len(data) > MAX_BODY_BYTES:
        sentence = _("The body has more than %(bytes)s bytes. Send it in parts.")
        raise Invalid(sentence % {"bytes": f"{MAX_BODY_BYTES:,}"})
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseError(_("The body is not UTF-8 (byte %(place)d).") % {"place": error.start}) from None


class JSONParser(parsers.JSONParser):
    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return storable.read_json(read_text(stream))


class FormParser(parsers.FormParser):
    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        fields = super().parse(stream, media_type, parser_context)
        storable.ensure_no_problems(storable.field_problems(fields.lists(), "/"))
        return fields


class MultiPartParser(parsers.MultiPartParser):
    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        parsed = super().parse(stream, media_type, parser_context)
        storable.ensure_form_is_storable(parsed.data, parsed.files, "/")
        return parsed


class KeysetPagination(CursorPagination):
    """Pages by primary key, newest first; `?limit=` up to 200, `?cursor=` from `next` and `previous`."""

    ordering = "-pk"
    page_size_query_param = "limit"
    max_page_size = 200

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Read the cursor. Raises NotFound for a position that is no primary key; DRF would put it in the query."""
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None and parse_row_id(str(cursor.position)) is None:
            raise NotFound(self.invalid_cursor_message)
        return cursor


class _RowOfBrandField(serializers.RelatedField[Any, Any, Any]):
    """A row of another brand is refused like one that does not exist. or_shared: rows without a brand are allowed."""

    def __init__(self, *, or_shared: bool = False, **options: Any) -> None:
        self.or_shared = or_shared
        super().__init__(**options)

    def get_queryset(self) -> QuerySet[Any]:
        user, rows = getattr(self.context.get("request"), "user", None), cast(Any, self).queryset
        if not isinstance(user, User):
            return rows.none()
        if self.or_shared:
            return rows.filter(Q(brand=None) | Q(brand__in=user.brand_ids()))
        return rows.all().visible_to(user)

    def fail(self, key: str, **details: Any) -> NoReturn:
        if key == "does_not_exist":
            value = details.get("pk_value", details.get("value"))
            raise NotFound(_("There is no %(field)s %(value)s.") % {"field": self.field_name, "value": value})
        super().fail(key, **details)


class OwnKey(_RowOfBrandField, serializers.PrimaryKeyRelatedField[Any]):
    """A primary key."""


class OwnSlug(_RowOfBrandField, serializers.SlugRelatedField[Any]):
    """A slug."""
