"""The preview of a feed's first subjects, which people see while they map the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from campaigns.feeds.base import FeedRefused, FeedRow, Issue
from campaigns.feeds.opening import Feed

MAX_ROWS = 400  # rows that are read; one product may take many rows


@dataclass
class PreviewedSubject:
    """One subject with its photos' sources and its variants as `S / sage`.

    is_existing: the file has only images or variants for a product of another file.
    """

    key: str
    kind: str
    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    photos: list[Mapping[str, object]] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    is_existing: bool = True


@dataclass
class Preview:
    """The first subjects in file order, and the issues of their rows.

    problem: why nothing can be read at all. missing: the required columns that are not mapped yet ("SKU", "name").
    """

    subjects: list[PreviewedSubject] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    problem: str = ""
    missing: list[str] = field(default_factory=list)


def refused_preview(refusal: FeedRefused) -> Preview:
    """Return the preview of a file that cannot be read with these settings."""
    missing = [issue.column for issue in refusal.issues if issue.cause == "column_missing"]
    return Preview(problem=str(refusal), missing=missing)


def preview_subjects(feed: Feed, *, subjects: int) -> Preview:
    """Read as many rows as the first subjects need, and no more than MAX_ROWS."""
    preview = Preview()
    by_key: dict[tuple[str, str], PreviewedSubject] = {}
    try:
        for item in feed.rows():
            if isinstance(item, Issue):
                preview.issues.append(item)
            elif not _add_row(item, by_key, limit=subjects):
                break
            if feed.count > MAX_ROWS:
                break
    except FeedRefused as refusal:
        preview.issues += refusal.issues
    preview.subjects = list(by_key.values())
    return preview


def _add_row(row: FeedRow, by_key: dict[tuple[str, str], PreviewedSubject], *, limit: int) -> bool:
    """Add the row to its subject; return False if that subject is beyond the first `limit`."""
    key = (row.kind, row.parent_key or row.key)
    if key not in by_key and len(by_key) == limit:
        return False
    subject = by_key.setdefault(key, PreviewedSubject(key[1], row.kind))
    subject.photos += list(row.photos)
    if not row.parent_key:
        subject.name, subject.attributes, subject.is_existing = row.name, dict(row.attributes), False
    elif row.key:
        subject.variants.append(" / ".join(row.options.values()) or row.key)
        subject.name = subject.name or row.name
    return True
