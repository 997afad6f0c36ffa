"""Fetch the photos that a feed names by address: a few at a time, with retries, and with a reason when given up.

Fetching, decoding and cutting out happen on threads beside the housekeeping and outside any transaction. While a photo
is fetched, its `next_fetch_at` is in the future: if the process dies, the photo is due again then. A photo whose fetch
has killed its process, or not ended in time, three times is set aside, as a job is.
"""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import PhotoStatus
from campaigns.models import ReferencePhoto
from campaigns.photos import intake
from campaigns.services import photo_files, photos
from core import fetching
from core.access import Action, require
from core.errors import Busy, Conflict, StorageFailed
from core.events import publish
from core.models import Brand, User
from core.services import outgoing_requests
from core.thread_pools import ThreadPool

LABEL = "photo loader"
MAX_ATTEMPTS = 5
MAX_DEATHS = 3
"""Fetches of one photo that may end without a result: their process died, or they took longer than LEASE."""
BACKOFF_SECONDS = (60, 600, 3600, 6 * 3600)
"""The waits before the second, third … attempt, varied by ±20%, unless the server names a time."""
TIMEOUT_SECONDS = 45.0
LEASE = timedelta(minutes=5)
THREADS = 4
PER_HOST = 2
"""Few, because a shop's server also serves its customers."""
STORAGE_WAIT_SECONDS = 300.0
"""Wait before a photo that was fetched but not stored is fetched again."""

log = structlog.get_logger(__name__)

_ADDRESS = re.compile(r"https?://([^/?#:]*)", re.IGNORECASE)
pool = ThreadPool("photos", THREADS)

# The first two conditions are those of the index photo_to_fetch.
_CLAIM = """
UPDATE campaigns_referencephoto
SET fetch_attempts = fetch_attempts + 1, fetch_deaths = fetch_deaths + 1, next_fetch_at = %(until)s
WHERE id IN (
    SELECT id FROM campaigns_referencephoto
    WHERE status = 'pending' AND UPPER(source::text) LIKE UPPER('http%%')
      AND source ~* '^https?://' AND (next_fetch_at IS NULL OR next_fetch_at <= %(now)s)
      AND LOWER(substring(source from '^[A-Za-z]+://([^/?#:]*)')) <> ALL(%(busy)s)
    ORDER BY next_fetch_at NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, source, fetch_attempts, fetch_deaths - 1
"""


@dataclass(frozen=True)
class ClaimedPhoto:
    """A photo that this process has claimed. attempt: its number, from 1. deaths: earlier attempts without a result."""

    photo_id: int
    source: str
    attempt: int
    deaths: int = 0

    @property
    def host(self) -> str:
        """The host, roughly parsed: for taking turns, not for connecting."""
        match = _ADDRESS.match(self.source)
        return match[1].lower() if match else ""


def load_due_photos(*, seconds: float) -> int:
    """Keep the threads busy for `seconds`; return how many photos were handled. Running fetches continue."""
    end = time.monotonic() + seconds
    dealt = pool.wait(0)
    exhausted: set[tuple[str, ...]] = set()
    while True:
        started = _fill_pool(exhausted)
        left = end - time.monotonic()
        if left <= 0 or not (started or pool.count_by_tag()):
            return dealt
        dealt += pool.wait(left)


def _fill_pool(exhausted: set[tuple[str, ...]]) -> int:
    """Start fetches until the thread pool is full; return how many were started.

    exhausted: sets of busy hosts for which a moment ago no photo of another host was due. Looking for other hosts is
    slow, because it reads past everything that waits for the busy ones.
    """
    started = 0
    while pool.has_free_thread():
        busy = sorted(host for host, count in pool.count_by_tag().items() if count >= PER_HOST)
        claimed = None if tuple(busy) in exhausted else claim(busy=busy)
        if claimed is None:
            exhausted.add(tuple(busy))
            break
        pool.start(partial(load, claimed), tag=claimed.host)
        started += 1
    return started


def claim(*, busy: list[str] | None = None) -> ClaimedPhoto | None:
    """Claim the next photo that is due, from no host in `busy`. Only one of several callers gets it."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "until": now + LEASE, "busy": busy or []})
        row = cursor.fetchone()
    return ClaimedPhoto(*row) if row else None


def load(claimed: ClaimedPhoto) -> None:
    """Fetch one photo and attach it; on failure postpone or refuse it. Not to be called in a transaction."""
    if claimed.deaths >= MAX_DEATHS:
        _refuse_deadly_photo(claimed)
        return
    try:
        with fetching.fetch(
            claimed.source, max_bytes=intake.MAX_BYTES, timeout_seconds=TIMEOUT_SECONDS, accept=["image/"],
            policy=outgoing_requests.fetch_policy(), agent=outgoing_requests.user_agent(),
        ) as fetched:  # fmt: skip
            data = fetched.data
    except fetching.Refused as refusal:
        _retry_later(claimed, refusal)
        return
    try:
        photos.attach_fetched(photo_id=claimed.photo_id, data=data, label=LABEL)
    except (StorageFailed, Busy) as error:
        _postpone(claimed, error)
    except DatabaseError:
        raise  # not the photo's fault: it is due again when its claim expires
    except Exception:
        log.exception("photo.failed", photo=claimed.photo_id)
        _retry_later(claimed, fetching.Refused("The photo could not be read or cut out.", is_final=False))


def _postpone(claimed: ClaimedPhoto, error: StorageFailed | Busy) -> None:
    """Postpone the photo without counting this attempt: the disk is full, or the machine is too busy to open it."""
    ReferencePhoto.objects.filter(
        pk=claimed.photo_id, status=PhotoStatus.PENDING, fetch_attempts=claimed.attempt
    ).update(
        fetch_attempts=claimed.attempt - 1,
        fetch_deaths=claimed.deaths,
        next_fetch_at=timezone.now() + timedelta(seconds=STORAGE_WAIT_SECONDS),
        notes=[error.message],
    )


@transaction.atomic
def _refuse_deadly_photo(claimed: ClaimedPhoto) -> None:
    """Refuse a photo that seems to kill the processes that open it; a person can retry it."""
    row = _lock_claimed(claimed)
    if row is not None:
        message = (
            f"Opening this photo stopped its process, or took too long, {claimed.deaths} times, so it is set aside. "
            "Replace the file at its address and have it fetched again, or upload another."
        )
        _give_up(row, message)


def _lock_claimed(claimed: ClaimedPhoto) -> ReferencePhoto | None:
    """Return the photo's row, locked; None if it got a file meanwhile, or somebody restarted its fetching."""
    row = ReferencePhoto.objects.select_for_update().select_related("subject__brand").get(pk=claimed.photo_id)
    return row if row.status == PhotoStatus.PENDING and row.fetch_attempts == claimed.attempt else None


def _give_up(row: ReferencePhoto, message: str) -> None:
    refusal = photo_files.Refusal(row.redacted_source[:300], message)
    photo_files.refuse_photos([(row, refusal)])
    photo_files.publish_attached(row.subject.brand, [], [refusal], label=LABEL)


@transaction.atomic
def _retry_later(claimed: ClaimedPhoto, refusal: fetching.Refused) -> None:
    """Schedule another attempt, or refuse the photo with the reason in its notes."""
    row = _lock_claimed(claimed)
    if row is None:
        return
    if refusal.is_final or claimed.attempt >= MAX_ATTEMPTS:
        tried = "" if refusal.is_final else f" Tried {claimed.attempt} times."
        _give_up(row, refusal.message + tried)
        return
    wait = BACKOFF_SECONDS[min(claimed.attempt, len(BACKOFF_SECONDS)) - 1] * random.uniform(0.8, 1.2)
    row.next_fetch_at = timezone.now() + timedelta(seconds=max(wait, refusal.retry_after_seconds or 0.0))
    row.notes, row.fetch_deaths = [refusal.message], claimed.deaths
    row.save(update_fields=["next_fetch_at", "notes", "fetch_deaths"])


@transaction.atomic
def retry_photos(*, brand: Brand, by: User, photo_id: int | None = None) -> int:
    """Fetch the brand's refused or postponed photos again, or only `photo_id`; return how many.

    Raises NotAllowed, and Conflict when there is none.
    """
    require(by, Action.IMPORT_FEED, brand)
    rows = ReferencePhoto.objects.filter(
        subject__brand=brand, status__in=[PhotoStatus.REFUSED, PhotoStatus.PENDING], source__istartswith="http"
    ).exclude(status=PhotoStatus.PENDING, fetch_attempts=0)
    if photo_id is not None:
        rows = rows.filter(pk=photo_id)
    ids = [row.pk for row in rows.select_for_update(of=("self",)).only("pk", "source") if _ADDRESS.match(row.source)]
    if not ids:
        raise Conflict(_("No photo of this brand waits to be fetched again."))
    ReferencePhoto.objects.filter(pk__in=ids).update(
        status=PhotoStatus.PENDING, fetch_attempts=0, fetch_deaths=0, next_fetch_at=None, notes=[]
    )
    publish(events.PhotosRetried.of(brand, count=len(ids), photos=ids[:100]), by=by)
    return len(ids)
