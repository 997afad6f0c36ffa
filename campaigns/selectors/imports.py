"""Read imports: the list, one import, its mistakes by cause, its fixes, and its changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import IO, Any

from django.db.models import Count, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from campaigns import feeds
from campaigns.feeds import Feed, FeedRefused, Header, fixes
from campaigns.feeds import mapping as columns_of
from campaigns.feeds.base import normalise_heading
from campaigns.feeds.fixes import ChosenFix, FixApplier
from campaigns.models import FeedImport, ImportChange, ImportIssue, Subject
from core.errors import NotFound
from core.models import User

SAMPLES_PER_CAUSE = 25
"""The number of issues of a cause that are searched for an example of each fix."""


@dataclass(frozen=True)
class FixOffer:
    """A fix that a person may choose; `example` is like “12,90 € → 12.90”, or empty."""

    id: str
    label: str
    explanation: str
    example: str


@dataclass(frozen=True)
class AppliedFix:
    """An applied fix: the mistakes that it was for, and how many cells or rows it changed."""

    cause: str
    fix: str
    label: str
    explanation: str
    mistakes: str
    changed: int
    counts_rows: bool


@dataclass(frozen=True)
class IssueGroup:
    """The mistakes of one cause in an import: their count, the first as an example, and possible fixes."""

    cause: str
    label: str
    count: int
    example: ImportIssue
    offers: tuple[FixOffer, ...] = ()

    @property
    def sentence(self) -> str:
        """Return a sentence: `38 prices that cannot be read, like “12,9o €”, first in E14`."""
        like = f", like “{self.example.value[:60]}”" if self.example.value else ""
        where = f", first in {self.example.cell}" if self.example.cell else ""
        return f"{self.count:,} {self.label}{like}{where}"


def visible(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Return the imports, newest first, with brand and user."""
    rows = FeedImport.objects.visible_to(user).select_related("brand", "requested_by")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    return rows.order_by("-id")


def get(user: User, import_id: int, *, brand_id: int | None = None) -> FeedImport:
    """Return one import. Raises NotFound, also if the user may not see it or it is of another brand."""
    feed_import: FeedImport | None = visible(user, brand_id=brand_id).filter(pk=import_id).first()
    if feed_import is None:
        raise NotFound(f"There is no import {import_id}.")
    return feed_import


def list_issues(user: User, feed_import: FeedImport, *, cause: str = "") -> QuerySet[Any]:
    """Return the stored issues in file order; at most 1,000 of a cause are stored."""
    rows = ImportIssue.objects.visible_to(user).filter(feed_import=feed_import)
    return (rows.filter(cause=cause) if cause else rows).order_by("row", "id")


def group_issues(user: User, feed_import: FeedImport) -> list[IssueGroup]:
    """Return the mistakes by cause, the most frequent first, each with the fixes that are not applied yet."""
    place = Window(RowNumber(), partition_by="cause", order_by=["row", "id"])
    samples: dict[str, list[ImportIssue]] = {}
    for issue in list_issues(user, feed_import).annotate(place=place).filter(place__lte=SAMPLES_PER_CAUSE):
        samples.setdefault(issue.cause, []).append(issue)
    fields = _fields(feed_import)
    cause_groups = []
    for cause, few in samples.items():
        count = feed_import.issue_counts.get(cause, len(few))
        cause_groups.append(
            IssueGroup(cause, fixes.cause_label(cause, count), count, few[0], _offers(feed_import, few, fields))
        )
    return sorted(cause_groups, key=lambda group: (-group.count, group.example.row))


def _offers(feed_import: FeedImport, few: list[ImportIssue], fields: dict[str, str]) -> tuple[FixOffer, ...]:
    """Return the fixes for one cause, each with the first cell in `few` that it would change as its example."""
    applied = {(stored["cause"], stored["fix"]) for stored in feed_import.fixes}
    return tuple(
        FixOffer(
            fix.id,
            fix.label,
            fix.explanation,
            next((text for issue in few if (text := fix.example(issue.value, fields.get(issue.column, "")))), ""),
        )
        for fix in fixes.FIXES.get(few[0].cause, ())
        if (few[0].cause, fix.id) not in applied
    )


def _fields(feed_import: FeedImport) -> dict[str, str]:
    """Return heading -> field, as the file was last read."""
    headings = feed_import.dialect.get("columns")
    if not headings:
        return {}
    try:
        header = Header.from_record((int(feed_import.dialect.get("header_row") or 0), headings))
    except FeedRefused:
        return {}
    images = feed_import.dialect.get("image_columns", ())
    header = replace(header, images=frozenset(at for at, cell in enumerate(header.cells) if cell in images))
    return columns_of.suggest_mapping(header) | feed_import.mapping


def columns_with(user: User, feed_import: FeedImport, cause: str) -> list[str]:
    """Return the headings of the columns in which this mistake occurs."""
    return list(
        list_issues(user, feed_import, cause=cause).order_by("column").values_list("column", flat=True).distinct()
    )


def applied_fixes(feed_import: FeedImport) -> list[AppliedFix]:
    """Return the fixes of an import in the order in which they are applied."""
    applied = []
    for stored in feed_import.fixes:
        fix = fixes.find_fix(stored["cause"], stored["fix"])
        counts_rows = fix.drops_rows or fix.is_staged or fix.row is not None
        mistakes = fixes.cause_label(stored["cause"], 2)
        applied.append(
            AppliedFix(
                stored["cause"],
                fix.id,
                fix.label,
                fix.explanation,
                mistakes,
                int(stored.get("changed", 0)),
                counts_rows,
            )
        )
    return applied


def list_changes(user: User, feed_import: FeedImport) -> QuerySet[Any]:
    """Return the changes of an applied import with their subjects; `was` is None for a new subject."""
    return (
        ImportChange.objects.visible_to(user).filter(feed_import=feed_import).select_related("subject").order_by("id")
    )


@dataclass(frozen=True)
class UndoPlan:
    """The effect of undoing an import, if nothing uses the new subjects and nobody changed the others since."""

    removes: int
    restores: int


def get_undo_plan(user: User, feed_import: FeedImport) -> UndoPlan:
    counted = (
        ImportChange.objects.visible_to(user)
        .filter(feed_import=feed_import)
        .aggregate(new=Count("id", filter=Q(was__isnull=True)), changed=Count("id", filter=Q(was__isnull=False)))
    )
    return UndoPlan(counted["new"], counted["changed"])


@dataclass(frozen=True)
class Progress:
    """The progress of a waiting import.

    percent: of the file's bytes; at 100 only the merge is left. seconds_left: None while it cannot be estimated.
    """

    rows: int
    percent: int
    rows_per_second: int
    seconds_left: int | None
    is_begun: bool


def get_progress(feed_import: FeedImport) -> Progress:
    since, now = feed_import.reading_since, timezone.now()
    seconds = (now - since).total_seconds() if since else 0.0
    share = feed_import.bytes_read / feed_import.file_bytes if feed_import.file_bytes else 0.0
    left = round(seconds / share - seconds) if seconds > 1 and 0.01 < share < 1 else None
    rate = round(feed_import.rows / seconds) if seconds > 1 else 0
    return Progress(feed_import.rows, min(100, int(100 * share)), rate, left, since is not None)


# -- mapping -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldChoice:
    """One entry in the list of fields for a column."""

    name: str
    label: str


def field_choices(brand_attributes: list[str], heading: str, current: str) -> list[tuple[str, list[FieldChoice]]]:
    """Return the fields for a column, in named groups; its own heading is offered as attribute and as option."""
    plain = {field.name: field.label for field in columns_of.FIELDS}
    own = normalise_heading(heading)
    options = list(dict.fromkeys(["Size", "Colour", heading.strip()]))
    attributes = list(dict.fromkeys([own, *brand_attributes])) if own else brand_attributes
    groups = [
        ("What it is", [FieldChoice(name, plain[name]) for name in ("key", "name", "parent", "kind")]),
        ("Photos", [FieldChoice(name, plain[name]) for name in ("photo", "photos_more", "alt")]),
        (
            "What prompts can name",
            [
                FieldChoice("hex", plain["hex"]),
                *(FieldChoice(f"attribute:{name}", f"Attribute: {name}") for name in attributes),
            ],
        ),
        ("Tells variants apart", [FieldChoice(f"option:{name}", f"Option: {name}") for name in options]),
        ("Nothing", [FieldChoice("ignore", plain["ignore"])]),
    ]
    if current == "layout":
        groups[-1][1].append(FieldChoice("layout", plain["layout"]))
    names = {choice.name for _, choices in groups for choice in choices}
    if current and current not in names:
        groups.insert(0, ("As it is", [FieldChoice(current, current.partition(":")[2] or current)]))
    return groups


def attribute_names(user: User, brand_id: int, *, newest: int = 200) -> list[str]:
    """Return the attribute names of the brand's newest subjects, and the standard ones."""
    rows = (
        Subject.objects.visible_to(user).filter(brand_id=brand_id).order_by("-pk").values_list("attributes", flat=True)
    )
    names = {name for attributes in rows[:newest] for name in attributes}
    return sorted({*names, "colour", "material", "price", "currency", "description"} - {"hex"})


def stored_fixes(stored: Iterable[Mapping[str, Any]]) -> list[ChosenFix]:
    """Return the fixes that a FeedImport stores, as Chosen."""
    return [ChosenFix(fix["cause"], fix["fix"], tuple(fix.get("columns") or ())) for fix in stored]


def make_fix_applier(offered: FeedImport) -> FixApplier:
    """Return the fixes of this import, with its column mapping or else the detected one."""
    chosen: dict[str, str] = offered.mapping

    def fields(header: Header) -> Mapping[str, str]:
        return chosen or columns_of.suggest_mapping(header)

    return FixApplier(stored_fixes(offered.fixes), fields)


def open_import_feed(stream: IO[bytes], offered: FeedImport, record_fix: feeds.RecordFix | None) -> Feed:
    """Open the feed with the settings of this import. Raises FeedRefused."""
    return feeds.open_feed(
        stream,
        kind=offered.subject_kind,
        mapping=offered.mapping or None,
        record_fix=record_fix,
        encoding=offered.encoding,
    )
