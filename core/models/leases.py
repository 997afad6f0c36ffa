"""Leased work: rows that one process at a time works on, such as a photo to fetch or a file to deliver."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import models
from django.utils import timezone


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

    def request(self) -> None:
        """Make the work due now and start counting again. An attempt that is running loses its lease."""
        self.lease_token, self.due_at = None, timezone.now()
        self.attempts = self.deaths = 0
