"""Read feed sources: their state, their last import, their next fetch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.choices import ImportStatus, SourceKind
from campaigns.models import FeedImport, FeedSource
from core.models import Brand, User
from core.selectors.rows import first_or_refuse


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
    rows = _visible(user).filter(brand=brand).exclude(kind=SourceKind.UPLOAD).order_by("name")
    return _statuses(list(rows), user)


def list_saved_mappings(brand: Brand, user: User) -> QuerySet[FeedSource]:
    """Return the saved mappings for uploaded files, each with its number of imports (`used`)."""
    rows = FeedSource.objects.visible_to(user).filter(brand=brand, kind=SourceKind.UPLOAD)
    return rows.annotate(used=Count("imports")).order_by("name")


def get(brand: Brand, user: User, slug: str) -> SourceStatus:
    """Return one source of the brand. Raises NotFound."""
    message = _("There is no feed source %(slug)r in %(brand)s.") % {"slug": slug, "brand": brand.name}
    return _statuses([first_or_refuse(_visible(user).filter(brand=brand, slug=slug), message)], user)[0]


def list_imports_with_mapping(brand: Brand, user: User) -> QuerySet[FeedImport]:
    """Return the brand's imports with a mapping that people made, the newest first."""
    return FeedImport.objects.visible_to(user).filter(brand=brand).exclude(mapping={}).order_by("-pk")[:20]


def _visible(user: User) -> QuerySet[FeedSource]:
    newest = FeedImport.objects.filter(source=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    rows = FeedSource.objects.visible_to(user).select_related("brand", "created_by")
    return rows.annotate(last_id=Subquery(newest))


def _statuses(rows: list[FeedSource], user: User) -> list[SourceStatus]:
    ids = [getattr(row, "last_id", None) for row in rows]
    last = FeedImport.objects.visible_to(user).in_bulk([import_id for import_id in ids if import_id])
    return [SourceStatus(row, last.get(import_id)) for row, import_id in zip(rows, ids, strict=True)]


def list_imports(user: User, source: FeedSource) -> QuerySet[FeedImport]:
    """Return the imports that came from a source, newest first."""
    return FeedImport.objects.visible_to(user).filter(source=source).order_by("-pk")
