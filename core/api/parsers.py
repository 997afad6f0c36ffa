"""Parsers of request bodies. They refuse values that PostgreSQL cannot store, before a view gets them."""

from __future__ import annotations

from typing import IO, Any

from django.utils.translation import gettext as _
from rest_framework import parsers
from rest_framework.exceptions import ParseError

from core import storable
from core.errors import Invalid

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
