"""People and brands, the events of all apps, notices, leased work, and stored responses."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from knox.models import AuthToken

from core.access import BrandOwned
from core.choices import BannedWords, Role, StaleUse
from core.clock import MomentField


class User(AbstractUser):
    """A person, or an integration's account. Written by allauth, the admin and `load_example`."""

    _password: str | None  # from Django: a new password that is not saved yet
    _roles: dict[int, set[str]] | None = None  # the roles of one request, read once
    is_without_password = False  # True after the password was made unusable, until that is saved

    notices_by_email = models.BooleanField(default=True, help_text=_("send notices to this person's address too"))

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and delete the API tokens if the password is new; Django's session hash ends the sessions.

        Whenever a password is changed (page, administration, command), Django keeps it in `_password` until it is
        saved. If Django only upgrades the hash, it sets `_password` to None.
        """
        is_new_password = self.pk is not None and (self._password is not None or self.is_without_password)
        with transaction.atomic():
            super().save(*args, **kwargs)
            if is_new_password:
                AuthToken.objects.filter(user_id=self.pk).delete()
        self.is_without_password = False

    def set_unusable_password(self) -> None:
        super().set_unusable_password()
        self.is_without_password = True

    def roles_in(self, brand: Brand) -> set[str]:
        """Return the person's roles in a brand; after `remember_roles`, from memory."""
        if self._roles is not None:
            return self._roles[brand.pk]
        return set(self.memberships.filter(brand=brand).values_list("role", flat=True))

    def remember_roles(self) -> None:
        """Read all roles now and keep them in this object. For the user of one request."""
        roles = defaultdict(set)
        for brand_id, role in self.memberships.order_by().values_list("brand_id", "role"):
            roles[brand_id].add(role)
        self._roles = roles

    def brand_ids(self) -> models.QuerySet[Any]:
        """Return the ids of the brands in which this person has a role, as a subquery."""
        return self.memberships.values("brand_id")

    @property
    def display_name(self) -> str:
        return self.get_full_name() or self.username


class Brand(models.Model):
    """A brand. It owns its data, and access is limited to its members. It is never deleted."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    currency = models.CharField(max_length=3, default="EUR")
    monthly_budget = models.DecimalField(
        max_digits=12, decimal_places=2, null=True, blank=True, help_text=_("for all campaigns in a calendar month")
    )
    stale_use = models.CharField(
        max_length=8,
        choices=StaleUse.choices,
        default=StaleUse.KEEP,
        help_text=_("what happens to published images that went stale, until a person decides"),
    )
    banned_words = models.CharField(
        max_length=5,
        choices=BannedWords.choices,
        default=BannedWords.WARN,
        help_text=_("what happens when a word that the brand guide bans is used; try-outs are never refused"),
    )
    time_zone = models.CharField(
        max_length=60,
        blank=True,
        default="",
        help_text=_("of the dates in file names, such as Europe/Berlin; empty: that of the installation"),
    )

    objects = BrandOwned.through("pk").as_manager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> tzinfo:
        return ZoneInfo(self.time_zone) if self.time_zone else timezone.get_default_timezone()

    def local_date(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()


class Membership(models.Model):
    """One role of one person in one brand; a person may have several."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "user", "role"]
        constraints = [
            models.UniqueConstraint(fields=["brand", "user", "role"], name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.brand}"


class Event(models.Model):
    """One event, inserted by `events.publish` in the transaction of the change. A trigger makes the table append-only.

    `xid` is the writing transaction (txid_current). The sealer takes rows whose xid is below the oldest running one, so
    that the sealed order is the commit order and no reader ever misses a row.
    """

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="+")
    type = models.CharField(max_length=80)
    object_type = models.CharField(max_length=40)
    object_id = models.BigIntegerField()
    payload = models.JSONField(default=dict)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    actor_label = models.CharField(max_length=150)
    at = models.DateTimeField()
    xid = models.BigIntegerField(db_default=models.Func(function="txid_current", output_field=models.BigIntegerField()))

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            # The timeline of one object.
            models.Index(fields=["object_type", "object_id", "id"], name="event_object"),
            # The sealer's scan: a brand's events from the last sealed transaction on, in order.
            models.Index(fields=["brand", "xid", "id"], name="event_brand_xid"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.object_type}:{self.object_id}"


class SealedEvent(models.Model):
    """The gapless number and the hash (audit_chain.py) of an event in its brand's chain. By the sealer; insert-only."""

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="+")
    seq = models.BigIntegerField()
    event = models.OneToOneField(Event, on_delete=models.PROTECT, related_name="seal")
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "seq"]
        constraints = [models.UniqueConstraint(fields=["brand", "seq"], name="seal_seq_once")]

    def __str__(self) -> str:
        return f"{self.brand_id}#{self.seq}"


@dataclass(frozen=True)
class RetryPolicy:
    """The schedule of attempts at a piece of work, and the time that each may take.

    waits_seconds: the waits after the first, second, … failed attempt; after the last of them the work is given up.
    jitter: the waits are varied by this share, so that work that failed together is not retried together.
    lease: the time after which an attempt that has told nothing counts as dead, and the work is due again.
    max_deaths: after so many dead attempts in a row the work is given up, because it may kill its process.
    """

    waits_seconds: Sequence[float]
    lease: timedelta = timedelta(minutes=5)
    jitter: float = 0.2
    max_deaths: int = 3

    def wait(self, attempts: int, retry_after_seconds: float | None = None) -> timedelta | None:
        """Return the wait after failed attempt number `attempts`, at least what the server asked for; None: give up."""
        if attempts > len(self.waits_seconds):
            return None
        wait = self.waits_seconds[attempts - 1] * random.uniform(1 - self.jitter, 1 + self.jitter)
        return timedelta(seconds=max(wait, retry_after_seconds or 0.0))


def is_free() -> models.Q:
    """Return the condition for rows that no running attempt holds."""
    return models.Q(lease_token=None) | models.Q(due_at__lte=timezone.now())


class LeasedRow(models.Model):
    """A row of work. core.services.leases claims it; the claimer ends the attempt with one of the methods below.

    The methods change the row in memory. The caller has locked it with `leases.lock` and saves it.
    """

    due_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="the next attempt; during one the end of its lease; null: nothing to do",
    )
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    attempts = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="since the work was requested or last succeeded"
    )
    deaths = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="attempts in a row whose process died or was too slow"
    )

    class Meta:
        abstract = True

    LEASE_FIELDS = ("due_at", "lease_token", "attempts", "deaths")

    @property
    def is_leased(self) -> bool:
        """True while an attempt is running, or its process has died and nobody has taken over yet."""
        return self.lease_token is not None

    def lease(self, policy: RetryPolicy) -> None:
        """Begin an attempt. core.services.leases.claim does so; a caller may itself for a row that it inserts."""
        self.lease_token, self.due_at = uuid.uuid4(), timezone.now() + policy.lease
        self.attempts += 1
        self.deaths += 1

    def succeed(self) -> None:
        """End the attempt; nothing is left to do."""
        self.lease_token = self.due_at = None
        self.attempts = self.deaths = 0

    def give_up(self) -> None:
        """End the attempt for good. The number of attempts is kept, to be shown."""
        self.lease_token = self.due_at = None
        self.deaths = 0

    def retry(self, policy: RetryPolicy, retry_after_seconds: float | None = None) -> bool:
        """End the failed attempt and schedule the next one, or give up; return whether there will be a next one."""
        wait = policy.wait(self.attempts, retry_after_seconds)
        if wait is None:
            self.give_up()
            return False
        self.lease_token, self.due_at, self.deaths = None, timezone.now() + wait, 0
        return True

    def postpone(self, wait: timedelta) -> None:
        """End the attempt without counting it: what stopped it, such as a full disk, is not the work's fault."""
        self.lease_token, self.due_at = None, timezone.now() + wait
        self.attempts, self.deaths = max(0, self.attempts - 1), max(0, self.deaths - 1)

    def request(self, *, after: timedelta = timedelta()) -> None:
        """Make the work due and start counting again. An attempt that is running loses its lease."""
        self.lease_token, self.due_at = None, timezone.now() + after
        self.attempts = self.deaths = 0


class Notice(LeasedRow):
    """One sentence to one person, with the page to act on it. The leased work is its mail, unless it is read before."""

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="notices")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=40, help_text=_("run_finished, run_paused, budget_reached, …"))
    sentence = models.CharField(max_length=300)
    href = models.CharField(max_length=300)
    created_at = MomentField(auto_now_add=True)
    read_at = models.DateTimeField(null=True, blank=True)
    mailed_at = models.DateTimeField(null=True, blank=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # A person's list, newest first.
            models.Index(fields=["user", "-id"], name="notice_of_user"),
            # The bell on every page counts what a person has not read.
            models.Index(fields=["user", "brand"], name="notice_unread", condition=models.Q(read_at=None)),
            # The mailer's work list.
            models.Index(fields=["due_at", "id"], name="notice_to_mail", condition=models.Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.sentence


class StoredResponse(models.Model):
    """The first response for an Idempotency-Key, replayed for 24 h. Written by the API, removed by a periodic task."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_sha256 = models.CharField(max_length=64)
    status_code = models.PositiveSmallIntegerField(null=True, help_text=_("null while the first request still runs"))
    body = models.JSONField(null=True)
    headers = models.JSONField(default=dict)
    rights = models.JSONField(null=True, help_text=_("[[action, brand id]] that the first request needed"))
    created_at = MomentField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key
