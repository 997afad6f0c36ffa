"""Read imports, with their mistakes by cause, fixes and changes, and the sources of feeds with their state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import IO, Any
from urllib.parse import urlsplit

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Window
from django.db.models.functions import RowNumber
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns import feeds
from campaigns.choices import ImportStatus, SourceKind
from campaigns.feeds import Feed, FeedRefused, cells, columns, fixes, suggest_mapping
from campaigns.feeds.base import normalise_heading
from campaigns.feeds.fixes import ChosenFix, Fix, FixApplier
from campaigns.models import FeedImport, FeedSource, ImportChange, ImportIssue, Subject
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

Choices = list[tuple[str, list[tuple[str, str]]]]
"""Groups of choices, as Django's fields take them: [(group, [(value, label)])]."""
SAMPLES_PER_CAUSE = 25  # issues that are searched for an example of each fix


@dataclass(frozen=True)
class AppliedFix:
    """An applied fix: the mistakes that it was for, and how many cells or rows it changed."""

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
    offers: list[tuple[Fix, str]]  # each fix with an example, like “12,90 € → 12.90”, or ""

    @property
    def sentence(self) -> str:
        """Return a sentence: `38 prices that cannot be read, like “12,9o €”, first in E14`."""
        names = {"count": f"{self.count:,}", "what": self.label, "value": self.example.value[:60]}
        names["cell"] = self.example.cell
        if self.example.value and self.example.cell:
            return _("%(count)s %(what)s, like “%(value)s”, first in %(cell)s") % names
        if self.example.value:
            return _("%(count)s %(what)s, like “%(value)s”") % names
        if self.example.cell:
            return _("%(count)s %(what)s, first in %(cell)s") % names
        return f"{self.count:,} {self.label}"


def visible(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Return the imports, newest first, with brand and user."""
    rows = FeedImport.objects.visible_to(user).select_related("brand", "requested_by")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    return rows.order_by("-id")


def get(user: User, import_id: int, *, brand_id: int | None = None) -> FeedImport:
    """Return one import. Raises NotFound, also if the user may not see it or it is of another brand."""
    rows = visible(user, brand_id=brand_id).filter(pk=import_id)
    return first_or_refuse(rows, _("There is no import %(id)d.") % {"id": import_id})


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
    groups = []
    for cause, few in samples.items():
        count = feed_import.issue_counts.get(cause, len(few))
        offers = _offers(feed_import, few, fields)
        groups.append(IssueGroup(cause, fixes.cause_label(cause, count), count, few[0], offers))
    return sorted(groups, key=lambda group: (-group.count, group.example.row))


def _offers(feed_import: FeedImport, few: list[ImportIssue], fields: dict[str, str]) -> list[tuple[Fix, str]]:
    """Return the fixes for one cause, each with the first cell in `few` that it would change as its example."""
    cause = few[0].cause
    applied = {stored["fix"] for stored in feed_import.fixes if stored["cause"] == cause}
    offers = []
    for fix in fixes.FIXES.get(cause, ()):
        if fix.id not in applied:
            examples = (fix.example(issue.value, fields.get(issue.column, "")) for issue in few)
            offers.append((fix, next(filter(None, examples), "")))
    return offers


def _fields(feed_import: FeedImport) -> dict[str, str]:
    """Return heading -> field, as the file was last read."""
    headings = feed_import.dialect.get("columns")
    if not headings:
        return {}
    try:
        header = cells.read_header((int(feed_import.dialect.get("header_row") or 0), headings))
    except FeedRefused:
        return {}
    images = feed_import.dialect.get("image_columns", ())
    header = replace(header, images=frozenset(at for at, cell in enumerate(header.cells) if cell in images))
    return suggest_mapping(header) | feed_import.mapping


def applied_fixes(feed_import: FeedImport) -> list[AppliedFix]:
    """Return the fixes of an import in the order in which they are applied."""
    applied = []
    for stored in feed_import.fixes:
        fix = fixes.find_fix(stored["cause"], stored["fix"])
        mistakes, changed = fixes.cause_label(stored["cause"], 2), int(stored.get("changed", 0))
        applied.append(AppliedFix(fix.label, fix.explanation, mistakes, changed, counts_rows=fix.cell is None))
    return applied


def list_changes(user: User, feed_import: FeedImport) -> QuerySet[Any]:
    """Return the changes of an applied import with their subjects; `was` is None for a new subject."""
    rows = ImportChange.objects.visible_to(user).filter(feed_import=feed_import)
    return rows.select_related("subject").order_by("id")


def count_undone_changes(user: User, feed_import: FeedImport) -> dict[str, int]:
    """Return how many subjects undoing "removes" and "restores", if nobody used or changed them since."""
    rows, is_new = list_changes(user, feed_import), Q(was__isnull=True)
    return rows.aggregate(removes=Count("id", filter=is_new), restores=Count("id", filter=~is_new))


@dataclass(frozen=True)
class Progress:
    """The progress of a waiting import."""

    rows: int
    percent: int  # of the file's bytes; at 100 only the merge is left
    rows_per_second: int
    seconds_left: int | None  # None while it cannot be estimated
    is_begun: bool


def get_progress(feed_import: FeedImport) -> Progress:
    since, now = feed_import.reading_since, timezone.now()
    seconds = (now - since).total_seconds() if since else 0.0
    share = feed_import.bytes_read / feed_import.file_bytes if feed_import.file_bytes else 0.0
    left = round(seconds / share - seconds) if seconds > 1 and 0.01 < share < 1 else None
    rate = round(feed_import.rows / seconds) if seconds > 1 else 0
    return Progress(feed_import.rows, min(100, int(100 * share)), rate, left, since is not None)


def field_choices(brand_attributes: list[str], heading: str, current: str) -> Choices:
    """Return the fields for a column, in named groups; its own heading is offered as attribute and as option."""
    plain = columns.FIELDS
    own = normalise_heading(heading)
    attribute_choices = [
        (f"attribute:{name}", _("Attribute: %(name)s") % {"name": name})
        for name in dict.fromkeys([own, *brand_attributes] if own else brand_attributes)
    ]
    option_choices = [
        (f"option:{name}", _("Option: %(name)s") % {"name": name})
        for name in dict.fromkeys(["Size", "Colour", heading.strip()])
    ]
    groups = [
        (_("What it is"), [(name, plain[name]) for name in ("key", "name", "parent", "kind")]),
        (_("Photos"), [(name, plain[name]) for name in ("photo", "photos_more", "alt")]),
        (_("What prompts can name"), [("hex", plain["hex"]), *attribute_choices]),
        (_("Tells variants apart"), option_choices),
        (_("Nothing"), [("ignore", plain["ignore"])]),
    ]
    if current == "layout":
        groups[-1][1].append(("layout", plain["layout"]))
    names = {name for _group, choices in groups for name, _label in choices}
    if current and current not in names:
        groups.insert(0, (_("As it is"), [(current, current.partition(":")[2] or current)]))
    return groups


def attribute_names(user: User, brand_id: int) -> list[str]:
    """Return the attribute names of the brand's newest 200 subjects, and the standard ones."""
    rows = Subject.objects.visible_to(user).filter(brand_id=brand_id).order_by("-pk")
    names = {name for attributes in rows.values_list("attributes", flat=True)[:200] for name in attributes}
    return sorted({*names, "colour", "material", "price", "currency", "description"} - {"hex"})


def make_fix_applier(offered: FeedImport) -> FixApplier:
    """Return the fixes of this import, with its column mapping or else the detected one."""
    chosen = [ChosenFix(fix["cause"], fix["fix"], tuple(fix.get("columns") or ())) for fix in offered.fixes]
    return FixApplier(chosen, lambda header: offered.mapping or suggest_mapping(header))


def open_import_feed(stream: IO[bytes], offered: FeedImport, fix_applier: FixApplier | None = None) -> Feed:
    """Open the feed with the settings of this import. Raises FeedRefused."""
    fix_applier = fix_applier or make_fix_applier(offered)
    record_fix = fix_applier if fix_applier.chosen else None
    return feeds.open_feed(
        stream, kind=offered.subject_kind, mapping=offered.mapping, record_fix=record_fix, encoding=offered.encoding
    )


@dataclass(frozen=True)
class SourceStatus:
    """A source with its newest import, for its page. last: None before the first import."""

    source: FeedSource
    last: FeedImport | None

    @property
    def host(self) -> str:
        """Return the host of the address; the rest of the address may contain a key."""
        return urlsplit(self.source.url).hostname or ""

    @property
    def is_due(self) -> bool:
        """True if it is about to be fetched."""
        at = self.source.due_at
        return bool(self.source.is_enabled and at and at <= timezone.now() + timedelta(seconds=5))

    @property
    def state(self) -> str:
        if not self.source.is_enabled:
            return "paused"
        if self.source.error:
            return "failed"
        return "waiting" if self.last is None else "ready"

    @property
    def word(self) -> str:
        if self.state == "failed" and self.last is not None and self.last.status == ImportStatus.REFUSED:
            return _("last rows refused") if self.source.kind == SourceKind.PUSH else _("last file refused")
        return {
            "paused": _("stopped"), "failed": _("failing"), "waiting": _("nothing came yet"), "ready": _("in order")
        }[self.state]  # fmt: skip


def list_sources(brand: Brand, user: User) -> list[SourceStatus]:
    """Return the brand's sources that are fetched or pushed to, by name. Two queries."""
    rows = _visible_sources(user).filter(brand=brand).exclude(kind=SourceKind.UPLOAD).order_by("name")
    return _source_statuses(list(rows), user)


def list_saved_mappings(brand: Brand, user: User) -> QuerySet[FeedSource]:
    """Return the saved mappings for uploaded files, each with its number of imports (`used`)."""
    rows = FeedSource.objects.visible_to(user).filter(brand=brand, kind=SourceKind.UPLOAD)
    return rows.annotate(used=Count("imports")).order_by("name")


def get_source(brand: Brand, user: User, slug: str) -> SourceStatus:
    """Return one source of the brand. Raises NotFound."""
    message = _("There is no feed source %(slug)r in %(brand)s.") % {"slug": slug, "brand": brand.name}
    return _source_statuses([first_or_refuse(_visible_sources(user).filter(brand=brand, slug=slug), message)], user)[0]


def list_imports_with_mapping(brand: Brand, user: User) -> QuerySet[FeedImport]:
    """Return the brand's imports with a mapping that people made, the newest first."""
    return FeedImport.objects.visible_to(user).filter(brand=brand).exclude(mapping={}).order_by("-pk")[:20]


def _visible_sources(user: User) -> QuerySet[FeedSource]:
    newest = FeedImport.objects.filter(source=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    rows = FeedSource.objects.visible_to(user).select_related("brand", "created_by")
    return rows.annotate(last_id=Subquery(newest))


def _source_statuses(rows: list[FeedSource], user: User) -> list[SourceStatus]:
    ids = [getattr(row, "last_id", None) for row in rows]
    last = FeedImport.objects.visible_to(user).in_bulk([import_id for import_id in ids if import_id])
    return [SourceStatus(row, last.get(import_id)) for row, import_id in zip(rows, ids, strict=True)]
