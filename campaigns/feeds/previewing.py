"""The preview of a feed's first subjects, which people see while they map the columns and before they apply a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from campaigns.feeds.base import PARENT_IN_OTHER_ROW, FeedRefused, FeedRow, Issue
from campaigns.feeds.fixes import ChosenFix, find_fix
from campaigns.feeds.opening import Feed

MAX_ROWS = 400  # rows that are read; one product may take many rows
MAX_ROWS_FOR_FIXES = 5000  # with staged fixes: the row that is kept may stand far below the first of its key

Key = tuple[str, str]  # the kind and the key of a subject or variant
Rows = dict[Key, list[FeedRow]]  # the rows of each subject, in file order


@dataclass
class PreviewedSubject:
    """One subject with its photos' sources and its variants as `S / sage`."""

    key: str
    kind: str
    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    photos: list[Mapping[str, object]] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    is_existing: bool = True  # the file has only images or variants for a product of another file

    def add(self, row: FeedRow) -> None:
        self.photos += row.photos
        if not row.parent_key:
            self.name, self.attributes, self.is_existing = row.name, dict(row.attributes), False
        elif row.key:
            self.variants.append(" / ".join(row.options.values()) or row.key)
            self.name = self.name or row.name


@dataclass
class Preview:
    """The first subjects in file order, and the issues of their rows."""

    subjects: list[PreviewedSubject] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    problem: str = ""  # why nothing can be read at all
    missing: list[str] = field(default_factory=list)  # the required columns that are not mapped yet ("SKU", "name")


def preview_subjects(
    feed: Feed, *, subjects: int, chosen: Sequence[ChosenFix], list_existing: Callable[[set[str]], Iterable[Key]]
) -> Preview:
    """Read the rows of the first subjects, as they will be after the chosen fixes.

    Reads as many rows as the first subjects need, at most MAX_ROWS; with staged fixes, MAX_ROWS_FOR_FIXES.
    list_existing: returns the subjects of the brand that have one of these keys.
    """
    # Of two fixes for one cause, the second has nothing left to do.
    staged = {fix.cause: fix.fix for fix in reversed(chosen) if find_fix(fix.cause, fix.fix).is_staged}
    preview = Preview()
    rows_of = _read_rows(feed, preview.issues, subjects=subjects, is_staged=bool(staged))
    for cause in ("duplicate_key", "duplicate_variant"):
        if cause in staged:
            rows_of = {key: _without_repeated(rows, cause, staged[cause]) for key, rows in rows_of.items()}
    if "parent_unknown" in staged:
        # A variant that has a name can stand for its product.
        orphans = {
            key for key, rows in rows_of.items() if all(row.parent_key and not (row.key and row.name) for row in rows)
        }
        orphans -= set(list_existing({key for _, key in orphans}))
        rows_of = {key: rows for key, rows in rows_of.items() if key not in orphans}
    for (kind, key), rows in islice(rows_of.items(), subjects):
        preview.subjects.append(PreviewedSubject(key, kind))
        for row in rows:
            preview.subjects[-1].add(row)
    return preview


def _read_rows(feed: Feed, issues: list[Issue], *, subjects: int, is_staged: bool) -> Rows:
    """Return the rows that were read, by subject; add the issues of the first `subjects` to `issues`."""
    rows_of: Rows = {}
    children: list[FeedRow] = []
    try:
        for item in feed.rows():
            is_beyond = len(rows_of) > subjects
            if isinstance(item, FeedRow):
                key = (item.kind, item.parent_key or item.key)
                rows = children if item.parent_key == PARENT_IN_OTHER_ROW else rows_of.setdefault(key, [])
                rows.append(item)
            elif not is_beyond:
                issues.append(item)
            if feed.count > (MAX_ROWS_FOR_FIXES if is_staged else MAX_ROWS) or (is_beyond and not is_staged):
                _place_children(rows_of, children, is_read_to_end=False)
                return rows_of
    except FeedRefused as refusal:
        issues += refusal.issues
    _place_children(rows_of, children, is_read_to_end=True)
    return rows_of


def _place_children(rows_of: Rows, children: Sequence[FeedRow], *, is_read_to_end: bool) -> None:
    """Give the photos of children to the variants that the rows of their products have named."""
    photos = {(child.kind, child.key): child.photos for child in children}
    variants: set[Key] = set()
    for rows in rows_of.values():
        for place, row in enumerate(rows):
            if row.parent_key and (row.kind, row.key) in photos:
                variants.add((row.kind, row.key))
                rows[place] = replace(row, photos=photos[row.kind, row.key])
    for child in children:  # a child of no product is a subject itself, which only the whole file shows
        key = (child.kind, child.key)
        if is_read_to_end and key not in variants:
            rows_of.setdefault(key, []).append(replace(child, parent_key=""))


def _without_repeated(rows: Sequence[FeedRow], cause: str, fix: str) -> list[FeedRow]:
    """Return a subject's rows with only one row of its own (`duplicate_key`), or one per variant."""
    concerned: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.key and bool(row.parent_key) == (cause == "duplicate_variant"):
            concerned.setdefault(row.key, []).append(place)
    left_out = {at for places in concerned.values() for at in (places[:-1] if fix == "keep_last" else places[1:])}
    return [row for place, row in enumerate(rows) if place not in left_out]
