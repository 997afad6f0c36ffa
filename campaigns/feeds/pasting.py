"""Turns a pasted table or list of titles into a file."""

from __future__ import annotations

import csv
import io

from campaigns.feeds import vocabulary
from campaigns.feeds.base import normalise_heading


def paste_as_file(text: str, *, kind: str) -> tuple[str, bytes]:
    """Return (file name, UTF-8 content) of pasted text.

    Articles and concepts may be pasted as one title per line. Everything else, and text with tabs (copied from a
    spreadsheet), is a table whose first line has the headings.
    """
    lines = [line.strip("\r") for line in text.lstrip("\ufeff").split("\n")]
    filled = [line for line in lines if line.strip()]
    if kind != "product" and filled and not any("\t" in line for line in filled) and not _is_header(filled[0]):
        return f"pasted {kind}s.csv", _titles(filled)
    return "pasted table.csv", "\n".join(lines).encode("utf-8", "replace")


def _is_header(line: str) -> bool:
    """Return True for a line of headings: one of them is a heading for names."""
    return any(normalise_heading(part) in vocabulary.NAME for part in line.replace(";", ",").split(","))


def _titles(lines: list[str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["title"])
    writer.writerows([line.strip().removeprefix("- ").removeprefix("• ").strip()] for line in lines)
    return out.getvalue().encode("utf-8", "replace")
