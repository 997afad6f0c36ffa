"""Keyset pagination for every list of the API: page 1,000 costs as much as page 1."""

from __future__ import annotations

from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from core.pages import parse_row_id


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
