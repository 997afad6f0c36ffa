"""Reading imports: the list, one import, what was wrong with it by cause, what was fixed, and what it made."""

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
from campaigns.feeds.base import normalised
from campaigns.feeds.fixes import Chosen, Mending
from campaigns.models import FeedImport, ImportChange, ImportIssue, Subject
from core.errors import NotFound
from core.models import User

SAMPLES = 25
"""Issues of a cause among which an example for each fix is looked for."""


@dataclass(frozen=True)
class Offer:
    """One fix as a person may choose it; `example` is like “12,90 € → 12.90”, or empty."""

    id: str
    label: str
    says: str
    example: str


@dataclass(frozen=True)
class Applied:
    """One fix that was applied: what it was for, and how many cells or rows it changed."""

    cause: str
    fix: str
    label: str
    says: str
    what: str
    changed: int
    is_of_rows: bool


@dataclass(frozen=True)
class Group:
    """Equal mistakes of one import: `count` of all, the first as an example, and the fixes that may be applied."""

    cause: str
    label: str
    count: int
    example: ImportIssue
    offers: tuple[Offer, ...] = ()

    @property
    def sentence(self) -> str:
        """`38 prices that cannot be read, like “12,9o €”, first in E14`."""
        like = f", like “{self.example.value[:60]}”" if self.example.value else ""
        where = f", first in {self.example.cell}" if self.example.cell else ""
        return f"{self.count:,} {self.label}{like}{where}"


def visible(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Imports newest first, with brand and person."""
    rows = FeedImport.objects.visible_to(user).select_related("brand", "requested_by")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    return rows.order_by("-id")


def get(user: User, import_id: int, *, brand_id: int | None = None) -> FeedImport:
    """Raises NotFound, also for what the person must not know of, and for an import of another brand than asked for."""
    found: FeedImport | None = visible(user, brand_id=brand_id).filter(pk=import_id).first()
    if found is None:
        raise NotFound(f"There is no import {import_id}.")
    return found


def issues(user: User, feed_import: FeedImport, *, cause: str = "") -> QuerySet[Any]:
    """The stored issues in file order; at most 1,000 of a cause are stored."""
    rows = ImportIssue.objects.visible_to(user).filter(feed_import=feed_import)
    return (rows.filter(cause=cause) if cause else rows).order_by("row", "id")


def groups(user: User, feed_import: FeedImport) -> list[Group]:
    """Mistakes by cause, the most frequent first, each with the fixes that are not applied yet."""
    place = Window(RowNumber(), partition_by="cause", order_by=["row", "id"])
    samples: dict[str, list[ImportIssue]] = {}
    for issue in issues(user, feed_import).annotate(place=place).filter(place__lte=SAMPLES):
        samples.setdefault(issue.cause, []).append(issue)
    fields = _fields(feed_import)
    found = []
    for cause, few in samples.items():
        count = feed_import.issue_counts.get(cause, len(few))
        found.append(Group(cause, fixes.label(cause, count), count, few[0], _offers(feed_import, few, fields)))
    return sorted(found, key=lambda group: (-group.count, group.example.row))


def _offers(feed_import: FeedImport, few: list[ImportIssue], fields: dict[str, str]) -> tuple[Offer, ...]:
    """The fixes for one cause; each with the first of a few cells that it would change as its example."""
    applied = {(one["cause"], one["fix"]) for one in feed_import.fixes}
    return tuple(
        Offer(
            one.id,
            one.label,
            one.says,
            next((text for issue in few if (text := one.example(issue.value, fields.get(issue.column, "")))), ""),
        )
        for one in fixes.FIXES.get(few[0].cause, ())
        if (few[0].cause, one.id) not in applied
    )


def _fields(feed_import: FeedImport) -> dict[str, str]:
    """Heading -> field, as the file was last read."""
    headings = feed_import.dialect.get("columns")
    if not headings:
        return {}
    try:
        header = Header.of((int(feed_import.dialect.get("header_row") or 0), headings))
    except FeedRefused:
        return {}
    images = feed_import.dialect.get("image_columns", ())
    header = replace(header, images=frozenset(at for at, cell in enumerate(header.cells) if cell in images))
    return columns_of.suggest(header, feed_import.subject_kind) | feed_import.mapping


def columns_with(user: User, feed_import: FeedImport, cause: str) -> list[str]:
    """Headings of the columns in which this mistake occurs."""
    return list(issues(user, feed_import, cause=cause).order_by("column").values_list("column", flat=True).distinct())


def applied_fixes(feed_import: FeedImport) -> list[Applied]:
    """The fixes of an import in the order in which they are applied."""
    found = []
    for one in feed_import.fixes:
        fix = fixes.find(one["cause"], one["fix"])
        is_of_rows = fix.leaves_out or fix.is_staged or fix.row is not None
        what = fixes.label(one["cause"], 2)
        found.append(Applied(one["cause"], fix.id, fix.label, fix.says, what, int(one.get("changed", 0)), is_of_rows))
    return found


def changes(user: User, feed_import: FeedImport) -> QuerySet[Any]:
    """Return the changes of an applied import, subject by subject; each names its `subject`. New: `was` is None."""
    return (
        ImportChange.objects.visible_to(user).filter(feed_import=feed_import).select_related("subject").order_by("id")
    )


@dataclass(frozen=True)
class UndoPlan:
    """The consequences of undoing, as far as nothing uses the new subjects and nobody changed them since."""

    removes: int
    restores: int


def undo_plan(user: User, feed_import: FeedImport) -> UndoPlan:
    counted = (
        ImportChange.objects.visible_to(user)
        .filter(feed_import=feed_import)
        .aggregate(new=Count("id", filter=Q(was__isnull=True)), changed=Count("id", filter=Q(was__isnull=False)))
    )
    return UndoPlan(counted["new"], counted["changed"])


@dataclass(frozen=True)
class Progress:
    """The progress of a waiting import. percent: of the file's bytes, 100 when only the merge is left; seconds_left:
    None while nobody can know."""

    rows: int
    percent: int
    rows_per_second: int
    seconds_left: int | None
    is_begun: bool


def progress(feed_import: FeedImport) -> Progress:
    since, now = feed_import.reading_since, timezone.now()
    seconds = (now - since).total_seconds() if since else 0.0
    share = feed_import.bytes_read / feed_import.file_bytes if feed_import.file_bytes else 0.0
    left = round(seconds / share - seconds) if seconds > 1 and 0.01 < share < 1 else None
    rate = round(feed_import.rows / seconds) if seconds > 1 else 0
    return Progress(feed_import.rows, min(100, int(100 * share)), rate, left, since is not None)


# -- mapping -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """One entry of a column's list of fields."""

    name: str
    label: str


def field_choices(brand_attributes: list[str], heading: str, current: str) -> list[tuple[str, list[Choice]]]:
    """The fields that a column can be, in named groups; its own heading is offered as attribute and as option."""
    plain = {field.name: field.label for field in columns_of.FIELDS}
    own = normalised(heading)
    options = list(dict.fromkeys(["Size", "Colour", heading.strip()]))
    attributes = list(dict.fromkeys([own, *brand_attributes])) if own else brand_attributes
    groups = [
        ("What it is", [Choice(name, plain[name]) for name in ("key", "name", "parent", "kind")]),
        ("Photos", [Choice(name, plain[name]) for name in ("photo", "photos_more", "alt")]),
        (
            "What prompts can name",
            [Choice("hex", plain["hex"]), *(Choice(f"attribute:{name}", f"Attribute: {name}") for name in attributes)],
        ),
        ("Tells variants apart", [Choice(f"option:{name}", f"Option: {name}") for name in options]),
        ("Nothing", [Choice("ignore", plain["ignore"])]),
    ]
    if current == "layout":
        groups[-1][1].append(Choice("layout", plain["layout"]))
    known = {choice.name for _, choices in groups for choice in choices}
    if current and current not in known:
        groups.insert(0, ("As it is", [Choice(current, current.partition(":")[2] or current)]))
    return groups


def attribute_names(user: User, brand_id: int, *, newest: int = 200) -> list[str]:
    """Attribute names that the brand's newest subjects have, and those that every brand knows."""
    rows = (
        Subject.objects.visible_to(user).filter(brand_id=brand_id).order_by("-pk").values_list("attributes", flat=True)
    )
    names = {name for attributes in rows[:newest] for name in attributes}
    return sorted({*names, "colour", "material", "price", "currency", "description"} - {"hex"})


def chosen_of(stored: Iterable[Mapping[str, Any]]) -> list[Chosen]:
    """Fixes as a FeedImport keeps them."""
    return [Chosen(one["cause"], one["fix"], tuple(one.get("columns") or ())) for one in stored]


def mending_of(offered: FeedImport) -> Mending:
    """The fixes that people applied to this import, for the columns as people or the detection assigned them."""
    chosen: dict[str, str] = offered.mapping
    kind = offered.subject_kind

    def fields(header: Header) -> Mapping[str, str]:
        return chosen or columns_of.suggest(header, kind)

    return Mending(chosen_of(offered.fixes), fields)


def open_offered(stream: IO[bytes], offered: FeedImport, mend: feeds.Mend | None) -> Feed:
    """The feed as this import has it read. Raises FeedRefused."""
    return feeds.open_feed(
        stream, kind=offered.subject_kind, mapping=offered.mapping or None, mend=mend, encoding=offered.encoding
    )
