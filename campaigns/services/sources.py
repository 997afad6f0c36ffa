"""Feed sources: feeds that arrive without a person, fetched from an address on a schedule or pushed by API.

Fetching and reading happen outside any transaction, on threads of the io lane. A file that was not modified, or is
identical to that of the last import, is not read again.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import ImportStatus, SourceKind, SubjectKind
from campaigns.models import FeedImport, FeedSource
from campaigns.models.feeds import FETCH_LEASE
from campaigns.services import imports
from core import access, clock, fetching
from core.access import Action
from core.choices import Lane
from core.errors import Conflict, DomainError, Invalid, Problem
from core.events import publish
from core.io_lane import io_work
from core.models import Brand, RetryPolicy, User
from core.refusals import conflict_on_duplicate
from core.selectors.rows import first_or_refuse
from core.services import leases, outgoing_requests, wake_ups

LABEL = "feed fetcher"
MAX_FEED_BYTES = 512 * 1024 * 1024
TIMEOUT_SECONDS = 300.0
MIN_MINUTES, MAX_MINUTES = 15, 60 * 24 * 31
FIRST_BACKOFF = timedelta(minutes=5)
NOTIFY_AFTER_FAILURES = 3
"""Failures in a row after which people are notified; the page shows the first one already."""
ACCEPTED = ("text/plain", "application/json", "application/xml", "application/zip")
"""Tables as text, JSON, XML, and XLSX, which is a ZIP archive."""

POLICY = RetryPolicy(waits_seconds=(), lease=FETCH_LEASE)
"""Without waits: a source is never given up, and `_record_failure` computes the next time from its schedule."""


@transaction.atomic
def create(
    *,
    brand: Brand,
    by: User,
    name: str,
    kind: str,
    url: str = "",
    subject_kind: str = SubjectKind.PRODUCT,
    every_minutes: int = 1440,
) -> FeedSource:
    """Create a source. One with an address is fetched at once and then every `every_minutes`.

    Raises NotAllowed, and Invalid for an empty or taken name, a forbidden address, or an interval out of range.
    """
    access.require(by, Action.IMPORT_FEED, brand)
    source = FeedSource(brand=brand, kind=kind, created_by=by)
    problems = set_fields(source, name=name, url=url, subject_kind=subject_kind, every_minutes=every_minutes)
    if problems:
        raise Invalid(_("This source cannot be set up so."), problems)
    _fetch_soon(source)
    with conflict_on_duplicate():
        source.save()
    _publish(source, by)
    return source


@transaction.atomic
def change(*, source_id: int, by: User, **fields: Any) -> FeedSource:
    """Change any of name, url, subject_kind and every_minutes.

    A new address is fetched at once, without the old one's ETag and failures.
    """
    source = lock(source_id, by)
    old_url = source.url
    if problems := set_fields(source, **fields):
        raise Invalid(_("This source cannot be set up so."), problems)
    if source.url != old_url:
        source.etag = source.last_modified = source.error = ""
        source.failures = 0
        _fetch_soon(source)
    elif "every_minutes" in fields and source.fetched_at and not source.failures and not source.is_leased:
        source.due_at = source.fetched_at + timedelta(minutes=source.every_minutes)
    source.save()
    _publish(source, by)
    return source


@transaction.atomic
def set_enabled(*, source_id: int, by: User, is_enabled: bool) -> FeedSource:
    """Stop or resume a source. A stopped source is not fetched and accepts no pushes; its earlier imports stay."""
    source = lock(source_id, by)
    if source.is_enabled != is_enabled:
        source.is_enabled = is_enabled
        if is_enabled:
            _fetch_soon(source)
        source.save(update_fields=["is_enabled", *source.LEASE_FIELDS])
        _publish(source, by)
    return source


@transaction.atomic
def use_mapping_of_import(*, source_id: int, import_id: int, by: User) -> FeedSource:
    """Use the column mapping of one import of the brand for this source from now on."""
    source = lock(source_id, by)
    imports_of_brand = FeedImport.objects.filter(pk=import_id, brand=source.brand_id)
    feed_import = first_or_refuse(imports_of_brand, _("There is no import %(id)s.") % {"id": import_id})
    source.mapping, source.subject_kind = feed_import.mapping, feed_import.subject_kind
    source.etag = source.last_modified = ""  # the same file must be read again
    _fetch_soon(source)
    source.save()
    publish(events.MappingSaved.of(source, name=source.name, mapping=source.mapping), by=by)
    return source


@transaction.atomic
def fetch_now(*, source_id: int, by: User) -> FeedSource:
    """Let a worker fetch the source at once. Raises Conflict for one that cannot be fetched."""
    source = lock(source_id, by)
    if source.kind != SourceKind.URL:
        raise Conflict(_("%(source)s is not fetched; rows are pushed to it.") % {"source": source.name})
    if not source.is_enabled:
        raise Conflict(_("%(source)s is stopped; resume it first.") % {"source": source.name})
    _fetch_soon(source)
    source.save(update_fields=source.LEASE_FIELDS)
    _publish(source, by)
    return source


def _fetch_soon(source: FeedSource) -> None:
    """Make a source with an address due, for the caller to save. A fetch that is running loses its lease."""
    if source.kind == SourceKind.URL:
        source.request()
        wake_ups.wake(Lane.IO)


@io_work(threads=2)
def fetch_next() -> bool:
    """Fetch the source that has been due longest and import what is new; return False if none is due."""
    source = claim()
    if source is None:
        return False
    fetch(source)
    return True


def claim() -> FeedSource | None:
    """Claim a source that is due for fetching."""
    return leases.claim(FeedSource.objects.filter(kind=SourceKind.URL, is_enabled=True), POLICY)


def fetch(source: FeedSource) -> None:
    """Fetch one claimed source and import what is new. Not to be called in a transaction."""
    try:
        feed_import, is_new, tags = _fetch_and_import(source)
    except fetching.Refused as refusal:
        _record_failure(source, refusal.message, wait_seconds=refusal.retry_after_seconds or 0.0)
        return
    except DomainError as refusal:
        _record_failure(source, refusal.message)
        return
    mistakes = _mistakes(feed_import)
    if mistakes and is_new:
        _record_failure(source, mistakes, tags=tags)
        return
    failures = 1 if mistakes else 0  # the same wrong file is still there
    _end_fetch(source, timedelta(minutes=source.every_minutes), failures=failures, error=mistakes, **tags)


def _mistakes(feed_import: FeedImport | None) -> str:
    """Return a sentence about the file's mistakes; "" if it was, or could be, applied."""
    if feed_import is None or feed_import.status != ImportStatus.REFUSED:
        return ""
    count = feed_import.error_count
    words = "1 mistake" if count == 1 else f"{count:,} mistakes"
    return f"The file has {words}, so nothing of it was taken over."


def _fetch_and_import(source: FeedSource) -> tuple[FeedImport | None, bool, dict[str, str]]:
    """Return the import of the current file, whether it was imported just now, and the columns of the HTTP answer."""
    with fetching.fetch(
        source.url, max_bytes=MAX_FEED_BYTES, timeout_seconds=TIMEOUT_SECONDS, accept=ACCEPTED, etag=source.etag,
        last_modified=source.last_modified, policy=outgoing_requests.fetch_policy(),
        agent=outgoing_requests.user_agent(),
    ) as response:  # fmt: skip
        etag = response.etag if len(response.etag) <= 300 else ""
        tags = {"etag": etag, "last_modified": response.last_modified[:100]}
        last = FeedImport.objects.filter(source=source).order_by("-pk").first()
        # The same content with the same mapping is not read again, also if it was refused or undone: it would end the
        # same, or restore what somebody undid.
        is_same = last is not None and (last.file_sha256, last.mapping) == (response.sha256, source.mapping)
        if response.not_modified or response.file is None or is_same:
            return last, False, tags
        applied = FeedImport.objects.filter(source=source, status=ImportStatus.APPLIED).order_by("-pk").first()
        name = PurePosixPath(unquote(urlsplit(response.final_url).path)).name
        done = imports.import_feed(
            brand=source.brand,
            file=response.file,
            file_name=name if re.search(r"\w", name) else f"{source.slug}.feed",
            by=source.created_by,
            kind=source.subject_kind,
            mapping=source.mapping or None,
            fixes=applied.fixes if applied else [],
            source=source,
        )
        return done, True, tags


def _record_failure(
    source: FeedSource, message: str, *, wait_seconds: float = 0.0, tags: dict[str, str] | None = None
) -> None:
    """Count a failure and schedule the next try with growing waits; notify people at the third failure.

    With `tags`, the file came but has mistakes: people are notified at once, because only they can fix it.
    """
    count = source.failures + 1
    wait = timedelta(minutes=source.every_minutes)
    if tags is None:
        wait = max(min(FIRST_BACKOFF * 2 ** min(count - 1, 12), wait), timedelta(seconds=wait_seconds))
    with transaction.atomic():
        is_ended = _end_fetch(source, wait, failures=count, error=message[:500], **(tags or {}))
        if is_ended and (count == NOTIFY_AFTER_FAILURES or (tags is not None and count == 1)):
            payload = {"name": source.name, "slug": source.slug, "failures": count, "message": message[:300]}
            publish(events.FeedSourceFailing.of(source, **payload), label=LABEL)


@transaction.atomic
def _end_fetch(claimed: FeedSource, wait: timedelta, **changes: Any) -> bool:
    """Store the end of a fetch; False if the lease was lost, because somebody changed the address or mapping."""
    source = leases.lock(claimed)
    if source is None:
        return False
    source.succeed()
    changes |= {"fetched_at": clock.now(), "due_at": timezone.now() + wait}
    for name, value in changes.items():
        setattr(source, name, value)
    source.save(update_fields=[*changes, *source.LEASE_FIELDS])
    return True


def lock(source_id: int, by: User) -> FeedSource:
    """Lock the row of a source that `by` may change. Raises NotFound and NotAllowed."""
    sources = FeedSource.objects.visible_to(by).select_for_update(of=("self",)).select_related("brand")
    message = _("There is no feed source %(id)s.") % {"id": source_id}
    source: FeedSource = first_or_refuse(sources.filter(pk=source_id), message)
    access.require(by, Action.IMPORT_FEED, source.brand)
    return source


def set_fields(source: FeedSource, **fields: Any) -> list[Problem]:
    """Set the fields that are not None, without saving, and return every mistake of the source.

    Pages show an address with “?…” in place of its query; such an address means the stored one.
    """
    problems = []
    entered = fields.pop("url", None)
    for field, value in fields.items():
        if value is not None:
            setattr(source, field, value)
    source.name = name = source.name.strip()
    if source.pk is None:
        source.slug = slugify(name)[:50]
    if not source.slug or not name:
        problems.append(Problem("name", _("Give the source a name, such as “Shop feed”."), name))
    elif FeedSource.objects.filter(brand=source.brand_id, slug=source.slug).exclude(pk=source.pk).exists():
        message = _("There is a source called “%(name)s” already.") % {"name": name[:60]}
        problems.append(Problem("name", message, name))
    if len(name) > 120:
        problems.append(Problem("name", _("The name has more than 120 characters."), name))
    if source.kind not in (SourceKind.URL, SourceKind.PUSH):
        problems.append(Problem("kind", _("A source is fetched (url) or pushed to (push)."), source.kind))
    if source.subject_kind not in SubjectKind.values:
        message = _("Known are %(names)s.") % {"names": ", ".join(SubjectKind.values)}
        problems.append(Problem("subject_kind", message, source.subject_kind))
    if source.kind == SourceKind.URL:
        url = source.url if entered is None else entered.strip()
        try:
            source.url = str(fetching.restore_redacted_addresses(url, source.url))
            fetching.parse(source.url, outgoing_requests.fetch_policy())
        except ValueError as error:
            problems.append(Problem("url", str(error), url[:300]))
        except fetching.Refused as refusal:
            problems.append(Problem("url", refusal.message, fetching.redact_address(url)[:300]))
    if not MIN_MINUTES <= source.every_minutes <= MAX_MINUTES:
        message = _("Give %(least)d to %(most)s minutes.") % {"least": MIN_MINUTES, "most": f"{MAX_MINUTES:,}"}
        problems.append(Problem("every_minutes", message, str(source.every_minutes)))
    return problems


def _publish(source: FeedSource, by: User) -> None:
    """Publish the source's fields, of the address only the host: addresses of feeds contain keys."""
    names = ("slug", "name", "kind", "subject_kind", "every_minutes", "is_enabled")
    payload = {name: getattr(source, name) for name in names}
    publish(events.FeedSourceSaved.of(source, host=urlsplit(source.url).hostname or "", **payload), by=by)
