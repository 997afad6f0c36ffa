"""CSV files for spreadsheets, in which no cell runs as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header


def escape_formula(cell: str) -> str:
    """Return the cell in a form that a spreadsheet does not run as a formula."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def escape_row(row: Iterable[Any]) -> list[str]:
    """Return the cells of a row as texts that a spreadsheet does not run."""
    return [escape_formula(str(cell)) for cell in row]


def response(stem: str, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Return the rows as a streamed download with a byte-order mark."""
    return StreamingHttpResponse(
        _lines(header, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": content_disposition_header(True, f"{stem}.csv")},
    )


class _Echo:
    def write(self, value: str) -> str:
        return value


def _lines(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield "\ufeff" + writer.writerow(header)
    for row in rows:
        yield writer.writerow(escape_row(row))
