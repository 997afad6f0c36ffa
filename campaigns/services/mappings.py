"""The options for reading a file: columns to fields, kind, encoding, fixes.

The mapping of columns is remembered per brand for the next file with the same headings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from django.db import transaction
from django.db.models import QuerySet
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import SourceKind
from campaigns.feeds import FeedRefused, Header, columns, encodings, fixes, header_sha256
from campaigns.models import FeedImport, FeedSource
from campaigns.services import feed_reading
from campaigns.services.subjects import ensure_kind
from core.access import Action, require
from core.errors import Conflict, Invalid, Problem
from core.events import publish
from core.models import Brand, User

MAX_NAME = 120


def saved_mappings(brand: Brand) -> QuerySet[FeedSource]:
    """Return the brand's upload sources that have a mapping."""
    return FeedSource.objects.filter(brand=brand, kind=SourceKind.UPLOAD, is_enabled=True).exclude(mapping={})


def find_saved_mapping(brand: Brand, header: Header) -> FeedSource | None:
    """Return the upload source with these headings, if somebody saved a mapping for them."""
    return saved_mappings(brand).filter(header_sha256=header_sha256(header)).order_by("-pk").first()


class FeedOptions(TypedDict, total=False):
    """The options with which a feed file is read."""

    kind: str  # of rows that name none
    mapping: Mapping[str, str] | None  # heading -> field
    fixes: Sequence[Mapping[str, Any]]  # {"cause", "fix", "columns"?}
    encoding: str  # "" for a guess
    source: FeedSource | None  # where the file comes from


def clean_options(options: FeedOptions) -> dict[str, Any]:
    """Return the given options as fields of FeedImport. Raises Invalid for an unknown kind, field, fix or encoding."""
    cleaned: dict[str, Any] = {}
    if "kind" in options:
        ensure_kind(options["kind"])
        cleaned["subject_kind"] = options["kind"]
    if (mapping := options.get("mapping")) is not None:
        _ensure_fields(mapping)
        cleaned["mapping"] = dict(mapping)
    if "fixes" in options:
        cleaned["fixes"] = _clean_fixes(options["fixes"])
    if (encoding := options.get("encoding", "")) and encoding not in encodings.LABELS:
        message = _("There is no encoding %(name)r to choose; known are %(names)s. Leave it empty for a guess.")
        message %= {"name": encoding[:60], "names": ", ".join(encodings.LABELS)}
        raise Invalid(message, [Problem("/encoding", message, encoding)])
    return cleaned | {name: options[name] for name in ("encoding", "source") if name in options}


def _ensure_fields(mapping: Mapping[str, str]) -> None:
    """Raise Invalid for every heading that is mapped to an unknown field."""
    problems = [
        Problem(f"/mapping/{heading}", _("“%(name)s” is no field.") % {"name": str(field)[:40]}, str(field))
        for heading, field in mapping.items()
        if not isinstance(field, str) or not columns.is_field(field)
    ]
    if problems:
        names = (f"{field}…" if field.endswith(":") else field for field in columns.FIELDS)
        message = _("The mapping names fields that do not exist; known are %(names)s.")
        raise Invalid(message % {"names": ", ".join(names)}, problems)


def _clean_fixes(chosen: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cleaned = []
    for place, given in enumerate(chosen):
        cause, fix, columns = str(given.get("cause", "")), str(given.get("fix", "")), given.get("columns") or []
        try:
            fixes.find_fix(cause, fix)
        except fixes.UnknownFix as error:
            raise Invalid(str(error), [Problem(f"/fixes/{place}", str(error), fix)]) from None
        cleaned.append({"cause": cause, "fix": fix, "columns": [str(column)[:200] for column in columns], "changed": 0})
    return cleaned


@transaction.atomic
def save_mapping(*, import_id: int, name: str, by: User) -> FeedSource:
    """Keep an import's mapping for the next file with the same headings; a second one for them replaces the first.

    Raises NotAllowed, Invalid for a name that is empty or taken, Conflict when the file is no longer kept.
    """
    done = FeedImport.objects.select_related("brand").get(pk=import_id)
    require(by, Action.IMPORT_FEED, done.brand)
    name = name.strip()[:MAX_NAME]
    slug = slugify(name)[:50]
    if not slug:
        message = _("Give the mapping a name, such as “Supplier list”.")
        raise Invalid(message, [Problem("/name", _("is empty"), name)])
    head = feed_reading.read_head(done, rows=0, mapping={})
    if isinstance(head, FeedRefused):
        raise Conflict(str(head))
    existing = find_saved_mapping(done.brand, head.header)
    taken: FeedSource | None = FeedSource.objects.filter(brand=done.brand, slug=slug).first()
    if taken is not None and taken != existing:
        message = _("There is already a source called “%(name)s”; choose another name.") % {"name": name}
        raise Invalid(message, [Problem("/name", "", name)])
    source = existing or FeedSource(brand=done.brand, kind=SourceKind.UPLOAD, created_by=by)
    source.name, source.slug = name, slug
    source.mapping, source.subject_kind = done.mapping, done.subject_kind
    source.header_sha256 = header_sha256(head.header)
    source.save()
    FeedImport.objects.filter(pk=done.pk).update(source=source)
    publish(events.MappingSaved.of(source, name=name, mapping=source.mapping), by=by)
    return source
