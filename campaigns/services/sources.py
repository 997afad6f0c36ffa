"""Feed sources: where a brand's feeds come from by themselves. By address, fetched on a schedule; by API, pushed.

A fetch is marked by `next_fetch_at` in the future before it begins: whoever moved it is the one who fetches, and when
the process dies the source is due again then. Fetching and reading happen outside any transaction, on threads beside
the housekeeping; what was not modified, or has the very content of the last import, is not read again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from campaigns import events
from campaigns.choices import ImportStatus, SourceKind, SubjectKind
from campaigns.models import FeedImport, FeedSource
from campaigns.models.feeds import FETCH_LEASE
from campaigns.services import imports
from core import access, clock, fetching
from core.access import Action
from core.crews import Crew
from core.errors import Conflict, DomainError, Invalid, NotFound, Problem
from core.events import publish
from core.models import Brand, User
from core.refusals import one_winner
from core.services import outside

LABEL = "feed fetcher"
MAX_FEED_BYTES = 512 * 1024 * 1024
TIMEOUT_SECONDS = 300.0
MIN_MINUTES, MAX_MINUTES = 15, 60 * 24 * 31
FIRST_WAIT = timedelta(minutes=5)
TELL_AFTER = 3
"""Failures in a row after which people are told; the page says it from the first."""
ACCEPTED = ("text/plain", "application/json", "application/xml", "application/zip")
"""Tables as text, JSON, XML, and XLSX, which is a ZIP archive."""

_crew = Crew("feeds", 2)


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
    """Set a source up. One by address is fetched at once and then every `every_minutes`.

    Raises NotAllowed, and Invalid for an empty or taken name, an address that is never fetched, an odd interval.
    """
    access.require(by, Action.IMPORT_FEED, brand)
    source = FeedSource(brand=brand, kind=kind, created_by=by, subject_kind=subject_kind)
    source.slug = slugify(name)[:50]
    _fill(source, name=name, url=_entered(url.strip()), every_minutes=every_minutes, subject_kind=subject_kind)
    if kind == SourceKind.URL:
        source.next_fetch_at = timezone.now()
    with one_winner():
        source.save()
    _publish(source, by)
    return source


@transaction.atomic
def change(
    *,
    source_id: int,
    by: User,
    name: str | None = None,
    url: str | None = None,
    subject_kind: str | None = None,
    every_minutes: int | None = None,
) -> FeedSource:
    """Change what is given. A new address is fetched at once, without regard to what the old one answered.

    An address as pages show it, with “?…” in place of its query, stands for the one that is kept.
    """
    source = lock(source_id, by)
    address = source.url if url is None else _entered(url.strip(), source.url)
    is_elsewhere = address != source.url
    _fill(
        source,
        name=source.name if name is None else name,
        url=address,
        every_minutes=source.every_minutes if every_minutes is None else every_minutes,
        subject_kind=source.subject_kind if subject_kind is None else subject_kind,
    )
    if is_elsewhere:
        _begin_anew(source)
    elif every_minutes is not None and source.kind == SourceKind.URL and source.fetched_at and not source.failures:
        source.next_fetch_at = source.fetched_at + timedelta(minutes=source.every_minutes)
    source.save()
    _publish(source, by)
    return source


@transaction.atomic
def set_enabled(*, source_id: int, by: User, is_enabled: bool) -> FeedSource:
    """Stop or resume. A stopped source is neither fetched nor may it be pushed to; what came from it stays."""
    source = lock(source_id, by)
    if source.is_enabled == is_enabled:
        return source
    source.is_enabled = is_enabled
    if is_enabled and source.kind == SourceKind.URL:
        source.next_fetch_at = timezone.now()
    source.save(update_fields=["is_enabled", "next_fetch_at"])
    _publish(source, by)
    return source


@transaction.atomic
def take_columns(*, source_id: int, import_id: int, by: User) -> FeedSource:
    """Read the source's columns from now on as they were assigned in one import of the brand."""
    source = lock(source_id, by)
    found = FeedImport.objects.filter(pk=import_id, brand=source.brand_id).first()
    if found is None:
        raise NotFound(f"There is no import {import_id}.")
    source.mapping, source.subject_kind = found.mapping, found.subject_kind
    source.etag = source.last_modified = ""  # the same file means something else now
    if source.kind == SourceKind.URL:
        source.next_fetch_at = timezone.now()
    source.save()
    publish(
        events.MappingRemembered(
            brand_id=source.brand_id, object_id=source.pk, payload={"name": source.name, "mapping": source.mapping}
        ),
        by=by,
    )
    return source


@transaction.atomic
def fetch_now(*, source_id: int, by: User) -> FeedSource:
    """Have the source fetched with the next pass of the housekeeping. Raises Conflict for one that is not fetched."""
    source = lock(source_id, by)
    if source.kind != SourceKind.URL:
        raise Conflict(f"{source.name} is not fetched; rows are pushed to it.")
    if not source.is_enabled:
        raise Conflict(f"{source.name} is stopped; resume it first.")
    source.next_fetch_at = timezone.now()
    source.save(update_fields=["next_fetch_at"])
    _publish(source, by)
    return source


# -- fetching ----------------------------------------------------------------------------------------------------------


def fetch_due() -> int:
    """Begin to fetch what is due; returns how many fetches began. For housekeeping: it waits for none of them."""
    began = 0
    while _crew.has_room() and (source_id := claim()) is not None:
        _crew.start(partial(fetch, source_id), tag=str(source_id))
        began += 1
    return began


def finish(*, seconds: float) -> int:
    """Wait for what runs; for commands and tests."""
    return _crew.finish(seconds)


def claim() -> int | None:
    """The id of a source that is due and from now on the caller's to fetch."""
    now = timezone.now()
    due = FeedSource.objects.filter(kind=SourceKind.URL, is_enabled=True, next_fetch_at__lte=now)
    for source_id, was in due.order_by("next_fetch_at").values_list("pk", "next_fetch_at")[:20]:
        if FeedSource.objects.filter(pk=source_id, next_fetch_at=was, is_enabled=True).update(
            next_fetch_at=now + FETCH_LEASE
        ):
            return int(source_id)
    return None


@dataclass(frozen=True)
class _Came:
    """The result of a fetch. done: the import of what is there now; is_new: it was read just now."""

    etag: str
    last_modified: str
    done: FeedImport | None
    is_new: bool

    @property
    def mistakes(self) -> str:
        """Say what is wrong with the file, in a sentence; "" if it was, or could be, taken over."""
        if self.done is None or self.done.status != ImportStatus.REFUSED:
            return ""
        count = self.done.error_count
        words = "1 mistake" if count == 1 else f"{count:,} mistakes"
        return f"The file has {words}, so nothing of it was taken over."


def fetch(source_id: int) -> None:
    """Fetch one claimed source and import what is new. Not to be called in a transaction."""
    source = FeedSource.objects.select_related("brand", "created_by").get(pk=source_id)
    try:
        came = _fetched(source)
    except fetching.Refused as refusal:
        _failed(source, refusal.message, wait_seconds=refusal.retry_after_seconds or 0.0)
        return
    except DomainError as refusal:
        _failed(source, refusal.message)
        return
    if came.mistakes and came.is_new:
        _failed(source, came.mistakes, came=came)
        return
    failures = 1 if came.mistakes else 0  # the file of last time is still there, and still wrong
    tags = {"etag": came.etag, "last_modified": came.last_modified}
    _conclude(source, timedelta(minutes=source.every_minutes), failures=failures, error=came.mistakes, **tags)


def _fetched(source: FeedSource) -> _Came:
    with fetching.fetch(
        source.url,
        max_bytes=MAX_FEED_BYTES,
        timeout_seconds=TIMEOUT_SECONDS,
        accept=ACCEPTED,
        etag=source.etag,
        last_modified=source.last_modified,
        policy=outside.policy(),
        agent=outside.agent(),
    ) as came:
        tags = (came.etag if len(came.etag) <= 300 else "", came.last_modified[:100])
        last = FeedImport.objects.filter(source=source).order_by("-pk").first()
        if came.not_modified or came.file is None or _is_same(last, came.sha256, source):
            return _Came(*tags, last, is_new=False)
        done = imports.import_feed(
            brand=source.brand,
            file=came.file,
            file_name=_file_name(source, came.final_url),
            by=source.created_by,
            kind=source.subject_kind,
            mapping=source.mapping or None,
            fixes=_fixes(source),
            source=source,
        )
        return _Came(*tags, done, is_new=True)


def _is_same(last: FeedImport | None, sha256: str, source: FeedSource) -> bool:
    """True if the source's last import read this very content in this very way; also one that was refused or undone:
    reading it again would end the same, or bring back what somebody took away."""
    return last is not None and last.file_sha256 == sha256 and last.mapping == source.mapping


def _fixes(source: FeedSource) -> list[Mapping[str, Any]]:
    """Return the fixes of the last file that was applied, for the next one."""
    last = FeedImport.objects.filter(source=source, status=ImportStatus.APPLIED).order_by("-pk").first()
    chosen = last.fixes if last else []
    return [{name: one[name] for name in ("cause", "fix", "columns") if name in one} for one in chosen]


def _file_name(source: FeedSource, address: str) -> str:
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    return name if re.search(r"\w", name) else f"{source.slug}.feed"


def _failed(source: FeedSource, message: str, *, wait_seconds: float = 0.0, came: _Came | None = None) -> None:
    """Count a failure, try again later and later, tell people at the third; at the first when a file came that has
    mistakes, because only people can mend those."""
    count = source.failures + 1
    regular = timedelta(minutes=source.every_minutes)
    wait = regular if came else max(min(FIRST_WAIT * 2 ** min(count - 1, 12), regular), timedelta(seconds=wait_seconds))
    tags = {"etag": came.etag, "last_modified": came.last_modified} if came else {}
    with transaction.atomic():
        _conclude(source, wait, failures=count, error=message[:500], **tags)
        if count == TELL_AFTER or (came and count == 1):
            payload = {"name": source.name, "slug": source.slug, "failures": count, "message": message[:300]}
            publish(
                events.FeedSourceFailing(brand_id=source.brand_id, object_id=source.pk, payload=payload), label=LABEL
            )


def _conclude(source: FeedSource, wait: timedelta, **fields: Any) -> None:
    """Write down how a fetch ended, unless somebody gave the source another address meanwhile."""
    now = timezone.now()
    FeedSource.objects.filter(pk=source.pk, url=source.url, mapping=source.mapping).update(
        fetched_at=clock.now(), next_fetch_at=now + wait, fetching_since=None, **fields
    )


# -- the parts ---------------------------------------------------------------------------------------------------------


def lock(source_id: int, by: User) -> FeedSource:
    """The source's row, locked, for somebody who may change it. Raises NotFound and NotAllowed."""
    found = FeedSource.objects.visible_to(by).select_for_update(of=("self",)).select_related("brand")
    source: FeedSource | None = found.filter(pk=source_id).first()
    if source is None:
        raise NotFound(f"There is no feed source {source_id}.")
    access.require(by, Action.IMPORT_FEED, source.brand)
    return source


def _begin_anew(source: FeedSource) -> None:
    source.etag = source.last_modified = source.error = ""
    source.failures = 0
    source.next_fetch_at = timezone.now()


def _fill(source: FeedSource, *, name: str, url: str, every_minutes: int, subject_kind: str) -> None:
    """Put what was entered into the row, or raise Invalid naming every field that cannot be."""
    problems = []
    name, url = name.strip(), url.strip()
    if not source.slug or not name:
        problems.append(Problem("name", "Give the source a name, such as “Shop feed”.", name))
    elif FeedSource.objects.filter(brand=source.brand_id, slug=source.slug).exclude(pk=source.pk).exists():
        problems.append(Problem("name", f"There is a source called “{name[:60]}” already.", name))
    if len(name) > 120:
        problems.append(Problem("name", "The name has more than 120 characters.", name))
    if source.kind not in (SourceKind.URL, SourceKind.PUSH):
        problems.append(Problem("kind", "A source is fetched (url) or pushed to (push).", source.kind))
    if subject_kind not in SubjectKind.values:
        problems.append(Problem("subject_kind", f"Known are {', '.join(SubjectKind.values)}.", subject_kind))
    if source.kind == SourceKind.URL:
        problems += _address_problems(url)
    if not MIN_MINUTES <= every_minutes <= MAX_MINUTES:
        problems.append(Problem("every_minutes", f"Give {MIN_MINUTES} to {MAX_MINUTES:,} minutes.", str(every_minutes)))
    if problems:
        raise Invalid("This source cannot be set up so.", problems)
    source.name, source.url = name, url if source.kind == SourceKind.URL else ""
    source.every_minutes, source.subject_kind = every_minutes, subject_kind


def _entered(url: str, kept: str = "") -> str:
    """Return the address that is meant, if a form showed `kept` without its query. Raises Invalid."""
    try:
        return str(fetching.entered(url, kept))
    except ValueError as error:
        raise Invalid("This source cannot be set up so.", [Problem("url", str(error), url[:300])]) from None


def _address_problems(url: str) -> list[Problem]:
    try:
        fetching.parse(url, outside.policy())
    except fetching.Refused as refusal:
        return [Problem("url", refusal.message, fetching.shown(url)[:300])]
    return []


def _publish(source: FeedSource, by: User) -> None:
    """The host only: addresses of feeds carry keys."""
    payload = {
        "slug": source.slug,
        "name": source.name,
        "kind": source.kind,
        "host": urlsplit(source.url).hostname or "",
        "subject_kind": source.subject_kind,
        "every_minutes": source.every_minutes,
        "is_enabled": source.is_enabled,
    }
    publish(events.FeedSourceSaved(brand_id=source.brand_id, object_id=source.pk, payload=payload), by=by)
