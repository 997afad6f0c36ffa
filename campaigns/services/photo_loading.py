"""Fetch the photos that a feed names by address: a few at a time, with retries, and with a reason when given up.

Fetching, decoding and cutting out happen on threads of the io lane and outside any transaction. A photo whose fetch has
killed its process, or not ended in time, three times is set aside, as a job is.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import structlog
from django.db import DatabaseError, transaction
from django.db.models import CharField, F, Func, Value
from django.db.models.functions import Lower
from django.utils.translation import gettext as _

from campaigns import events
from campaigns.choices import PhotoStatus
from campaigns.models import ReferencePhoto
from campaigns.photos import intake, reading
from campaigns.services import photos
from core import fetching
from core.access import Action, require
from core.choices import Lane
from core.errors import Busy, Conflict, StorageFailed
from core.events import publish
from core.io_lane import io_work
from core.models import Brand, RetryPolicy, User
from core.services import leases, outgoing_requests, wake_ups

LABEL = "photo loader"
POLICY = RetryPolicy(waits_seconds=(60, 600, 3600, 6 * 3600))
TIMEOUT_SECONDS = 45.0
PER_HOST = 2  # few, because a shop's server also serves its customers
STORAGE_WAIT = timedelta(minutes=5)  # before a photo that was fetched but not stored is fetched again
_STOPPED_ITS_PROCESS = (
    f"Opening this photo stopped its process, or took too long, {POLICY.max_deaths} times, so it is set aside. "
    "Replace the file at its address and have it fetched again, or upload another."
)

log = structlog.get_logger(__name__)

_HOST = Lower(Func(F("source"), Value("/"), Value(3), function="split_part", output_field=CharField()))
_guard = threading.Lock()
_open_by_host: Counter[str] = Counter()


@io_work(threads=4)
def load_next() -> bool:
    """Fetch the photo that has been due longest, of a host that is not busy; return False if there is none."""
    with _guard:
        photo = claim(busy=[host for host, count in _open_by_host.items() if count >= PER_HOST])
        if photo is None:
            return False
        host = photo.source.lower().split("/", 3)[2]  # roughly parsed, as _HOST: for taking turns, not for connecting
        _open_by_host[host] += 1
    try:
        load(photo)
    finally:
        with _guard:
            _open_by_host[host] -= 1
    return True


def claim(*, busy: Sequence[str] = ()) -> ReferencePhoto | None:
    """Claim the photo that has been due longest, from no host in `busy`. Only one of several callers gets it."""
    return leases.claim(ReferencePhoto.objects.alias(host=_HOST).exclude(host__in=busy), POLICY)


def load(claimed: ReferencePhoto) -> None:
    """Fetch one photo and attach it; on failure postpone or refuse it. Not to be called in a transaction."""
    if claimed.deaths > POLICY.max_deaths:
        _end_failed(claimed, fetching.Refused(_STOPPED_ITS_PROCESS, is_final=True))
        return
    try:
        with fetching.fetch(
            claimed.source, max_bytes=intake.MAX_BYTES, timeout_seconds=TIMEOUT_SECONDS, accept=["image/"],
            policy=outgoing_requests.fetch_policy(), agent=outgoing_requests.user_agent(),
        ) as fetched:  # fmt: skip
            data = fetched.data
    except fetching.Refused as refusal:
        _end_failed(claimed, refusal)
        return
    try:
        attach_fetched(claimed, data)
    except (StorageFailed, Busy) as error:
        _end_failed(claimed, error)
    except DatabaseError:
        raise  # not the photo's fault: it is due again when its lease expires
    except Exception:
        log.exception("photo.failed", photo=claimed.pk)
        _end_failed(claimed, fetching.Refused("The photo could not be read or cut out.", is_final=False))


def attach_fetched(claimed: ReferencePhoto, data: bytes) -> None:
    """Attach the file that was fetched from the address of a claimed photo; a file that cannot be used is refused.

    Changes nothing if the lease was lost: the photo got its file meanwhile, or was removed.
    """
    try:
        photo = reading.admit(data, is_patient=True)
    except intake.Refused as error:
        _end_failed(claimed, fetching.Refused(str(error), is_final=True))
        return
    brand = claimed.subject.brand
    stored = photos.store_photo(photo, photos.find_existing_cutout(brand, photo), is_patient=True)
    with transaction.atomic():
        if (row := leases.lock(claimed)) is not None:
            photos.write_photos(brand, [(row, stored)], label=LABEL)


@transaction.atomic
def _end_failed(claimed: ReferencePhoto, error: fetching.Refused | StorageFailed | Busy) -> None:
    """Schedule another attempt (uncounted if disk or machine were to blame) or refuse the photo; its notes say why."""
    photo = leases.lock(claimed, "subject__brand")
    if photo is None:
        return
    message, is_over = error.message, False
    if not isinstance(error, fetching.Refused):
        photo.postpone(STORAGE_WAIT)
    elif error.is_final:
        is_over = True
    elif not photo.retry(POLICY, error.retry_after_seconds):
        message, is_over = f"{message} Tried {photo.attempts} times.", True
    if is_over:
        refusal = photos.Refusal(photo.redacted_source[:300], message)
        photos.write_photos(photo.subject.brand, [], [(photo, refusal)], label=LABEL)
    else:
        photo.notes = [message]
        photo.save(update_fields=["notes", *photo.LEASE_FIELDS])


@transaction.atomic
def retry_photos(*, brand: Brand, by: User) -> int:
    """Fetch the brand's refused or postponed photos again; return how many. Raises NotAllowed, Conflict for none."""
    require(by, Action.IMPORT_FEED, brand)
    rows = ReferencePhoto.objects.filter(
        subject__brand=brand, status__in=[PhotoStatus.REFUSED, PhotoStatus.PENDING], source__iregex="^https?://"
    ).exclude(status=PhotoStatus.PENDING, attempts=0)
    ids = list(rows.select_for_update(of=("self",)).values_list("pk", flat=True))
    if not ids:
        raise Conflict(_("No photo of this brand waits to be fetched again."))
    leases.request(ReferencePhoto.objects.filter(pk__in=ids), status=PhotoStatus.PENDING, notes=[])
    publish(events.PhotosRetried.of(brand, count=len(ids), photos=ids[:100]), by=by)
    wake_ups.wake(Lane.IO)
    return len(ids)
