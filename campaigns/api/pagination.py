"""Keyset pagination for every list of the API: the cost of page 1,000 is the cost of page 1."""

from rest_framework.pagination import CursorPagination


class Keyset(CursorPagination):
    """Pages by primary key, newest first; `?limit=` up to 200, `?cursor=` from `next` and `previous`."""

    ordering = "-pk"
    page_size_query_param = "limit"
    max_page_size = 200
