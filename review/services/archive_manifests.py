"""The manifests of an archive of approved images: one row per file, as CSV, XLSX and JSON, from one list of columns.

Rows are written as they come into files of a temporary folder, so that memory is the same for any number of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, Self

import xlsxwriter
from xlsxwriter.worksheet import Worksheet

from core import workbooks
from core.csv_files import escape_row
from generation.choices import AttemptOutcome
from generation.models import AssetVersion
from review.delivery.base import DeliveryFile
from review.delivery.hot_folder.sidecars import lineage_columns
from review.selectors.lineage import summary
from review.services.packages import ApprovedAsset

Row = dict[str, Any]

COLUMNS = {
    "file": "path in the archive",
    "title": "file name by the output spec's pattern",
    "sku": "key of the product or article",
    "product": "its name",
    "asset": "id of the image",
    "campaign": "slug of the campaign",
    "spec": "output spec",
    "media_type": "media type of the file",
    "width": "pixels",
    "height": "pixels",
    "bytes": "size of the file",
    "sha256": "of the file, with its marks of origin",
    "alt_text": "read to people who do not see the image",
    "disclaimer": "words that must stand beside the image",
    "approved_by": "person",
    "approved_at": "time of the decision",
    "review_note": "what the reviewer noted with it",
    "checks": "each check with its outcome",
    "generated_at": "when the image was made",
    "generation_seconds": "how long that took",
    "engine": "engine",
    "model": "model",
    "prompt": "prompt version",
    "seed": "seed",
    "problem": "why the archive lacks this file; empty if it is there",
}
"""The columns in their order, each with its meaning."""


def file_row(file: DeliveryFile) -> Row:
    """Return the columns of a file, except its path in the archive."""
    names = ("spec", "media_type", "width", "height", "bytes", "sha256")
    return {"title": file.name, **{name: getattr(file, name) for name in names}}


def asset_row(approved: ApprovedAsset, alt_text: str) -> Row:
    """Return the columns of an approved image, which the rows of all its files share."""
    asset, version, approval = approved.asset, approved.version, approved.approval
    record = summary(version, approval)
    return {
        "sku": asset.subject.key,
        "product": asset.subject.name,
        "asset": asset.pk,
        "campaign": asset.campaign.slug,
        "alt_text": alt_text,
        "review_note": approval.note,
        "checks": record["checks"],
        "generated_at": version.created_at.isoformat(),
        "generation_seconds": _generation_seconds(version),
        "engine": record.get("model", {}).get("engine", ""),
        **lineage_columns(record),
    }


def _generation_seconds(version: AssetVersion) -> float | None:
    """Return the duration of the attempt that made the image; None for an image that a person made."""
    attempts = version.job.attempt_rows.all() if version.job else []
    succeeded = [row for row in attempts if row.outcome == AttemptOutcome.SUCCEEDED]
    durations = [row.ended_at - row.started_at for row in succeeded if row.ended_at]
    return round(durations[-1].total_seconds(), 2) if durations else None


class _Format(Protocol):
    def add(self, row: Row) -> None: ...

    def finish(self) -> Path: ...


class Manifests:
    """The three files while they are written; a context manager. heading: the first fields of the JSON file."""

    def __init__(self, folder: Path, heading: Mapping[str, Any]) -> None:
        self._stack = ExitStack()
        self._formats: list[_Format] = [
            _Csv(folder, self._stack),
            _Workbook(folder),
            _Json(folder, self._stack, heading),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def add(self, row: Mapping[str, Any]) -> None:
        complete = {name: row.get(name) for name in COLUMNS}
        for each in self._formats:
            each.add(complete)

    def finish(self) -> list[Path]:
        """Complete the files and return their paths; their names are those in the archive."""
        return [each.finish() for each in self._formats]


class _Csv:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.path = folder / "manifest.csv"
        self._file = stack.enter_context(self.path.open("w", encoding="utf-8-sig", newline=""))
        self._writer = csv.writer(self._file)
        self._writer.writerow(COLUMNS)

    def add(self, row: Row) -> None:
        self._writer.writerow(escape_row(_text_or_number(value) for value in row.values()))

    def finish(self) -> Path:
        self._file.flush()
        return self.path


class _Workbook:
    """A workbook whose rows go to temporary files at once; a full sheet is followed by another."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "manifest.xlsx"
        options = {"constant_memory": True, "tmpdir": str(folder), "use_zip64": True}
        self._book = xlsxwriter.Workbook(str(self.path), options)
        self._bold = self._book.add_format({"bold": True})
        self._sheet, self._row = self._add_sheet(), 1

    def _add_sheet(self) -> Worksheet:
        sheet = self._book.add_worksheet()
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(COLUMNS) - 1, 16)
        for column, name in enumerate(COLUMNS):
            workbooks.write_text(sheet, 0, column, name, self._bold)
        return sheet

    def add(self, row: Row) -> None:
        if self._row == workbooks.MAX_ROWS:
            self._sheet, self._row = self._add_sheet(), 1
        for column, value in enumerate(map(_text_or_number, row.values())):
            if isinstance(value, str):
                if value:
                    workbooks.write_text(self._sheet, self._row, column, value)
            elif abs(value) < workbooks.MAX_NUMBER:
                self._sheet.write_number(self._row, column, value)
            else:
                workbooks.write_text(self._sheet, self._row, column, str(value))
        self._row += 1

    def finish(self) -> Path:
        self._book.close()
        return self.path


class _Json:
    """An object with the heading and "files", one row a line."""

    def __init__(self, folder: Path, stack: ExitStack, heading: Mapping[str, Any]) -> None:
        self.path = folder / "manifest.json"
        self._file = stack.enter_context(self.path.open("w", encoding="utf-8"))
        self._file.write(json.dumps(heading, ensure_ascii=False)[:-1] + ', "files": [')
        self._separator = "\n"

    def add(self, row: Row) -> None:
        self._file.write(self._separator + json.dumps(row, ensure_ascii=False))
        self._separator = ",\n"

    def finish(self) -> Path:
        self._file.write("\n]}\n")
        self._file.flush()
        return self.path


def _text_or_number(value: Any) -> str | float:
    """Return the value as a table has it: the checks as text, "sharpness: warn (soft edges); size: pass"."""
    if isinstance(value, list):
        return "; ".join(_check_text(check) for check in value)
    return value if isinstance(value, int | float) else str(value or "")


def _check_text(check: Mapping[str, str]) -> str:
    return f"{check['check']}: {check['outcome']}" + (f" ({check['message']})" if check["message"] else "")
