"""Limits of a service that nobody told us, found from what it takes and what it refuses (429). No database here.

A refusal says that there is a limit, not which: on the calls that are open at once, on the orders of a second, or on
those of a minute. What the service had taken just before tells them apart, and is the limit's measure too: a limit that
is found is set to what was taken, not to a guessed part of it. Later refusals lower it a little, quiet times raise it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

SECOND, MINUTE = "second", "minute"
LONG_PAUSE_SECONDS = 5.0
"""A service that asks for more patience than this counts by the minute; so does one that says nothing and refuses when
it has taken nothing for so long."""
FAR_BELOW_PEAK = 0.75
REPEATED_CUT, CUT = 0.85, 0.97
CHANCES = 2
"""How many refusals after a raise are put down to it, or to orders that came closer together than they were sent."""
GROWTH, MOST_GROWTH, QUIET_STEPS = 0.005, 0.25, 6
GROWS_EVERY = timedelta(seconds=10)
"""A limit is raised by half a per cent at a time until it is past the place where it was refused, and then by twice as
much with each step: what was found may have been chance, or may have been raised."""


@dataclass(frozen=True)
class Taken:
    """The orders that a service had taken when it refused: open orders, and how many of the last second and minute.
    idle_seconds: since the latest of them; None if there is none."""

    open: int
    second: int
    minute: int
    idle_seconds: float | None


@dataclass(frozen=True)
class FoundRate:
    """orders: how many in each second or minute. steps: how often it was raised since it was last lowered. changed_at:
    when that was, or when the pause ends that came with it. chances: refusals that lower it only a little."""

    orders: float
    changed_at: datetime
    steps: int = 0
    chances: int = 0
    is_first_guess: bool = True

    def refused(self, taken: int, sent_at: datetime, resume_at: datetime) -> Self:
        """It was kept, and yet an order was refused. Orders that were under way together are refused together."""
        if sent_at < self.changed_at:
            return replace(self, orders=min(self.orders, max(1.0, taken))) if self.is_first_guess else self
        lowered = self.orders * (CUT if self.chances else REPEATED_CUT)
        left = max(0, self.chances - 1)
        return replace(self, orders=lowered, changed_at=resume_at, steps=0, chances=left, is_first_guess=False)

    def grown(self, now: datetime) -> Self:
        raised = self.orders * (1 + min(MOST_GROWTH, GROWTH * 2 ** max(0, self.steps - QUIET_STEPS)))
        steps = self.steps + 1
        return replace(self, orders=raised, changed_at=now, steps=steps, chances=CHANCES, is_first_guess=False)

    def may_grow(self, now: datetime) -> bool:
        return now - self.changed_at >= GROWS_EVERY

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Self:
        return cls(**{**told, "changed_at": datetime.fromisoformat(told["changed_at"])})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "changed_at": self.changed_at.isoformat()}


@dataclass(frozen=True)
class Limits:
    """window: open orders, None while nothing is known; peak: how many were open at the latest refusal for that."""

    window: float | None = None
    peak: float | None = None
    cut_at: datetime | None = None
    rates: Mapping[str, FoundRate] = field(default_factory=dict)

    def refused(self, taken: Taken, *, sent_at: datetime, resume_at: datetime, pause_seconds: float | None) -> Limits:
        """The limits after an order was refused that was sent at `sent_at`; the service asked for `pause_seconds`
        (None: for none), and no order goes out until `resume_at`."""
        for name, rate in self.rates.items():
            if sent_at < rate.changed_at:
                return self._with(name, rate.refused(getattr(taken, name), sent_at, resume_at))
        if self.cut_at is not None and sent_at < self.cut_at:
            return replace(self, window=min(self.window or taken.open, max(1, taken.open)))
        if _is_of_the_minute(taken, pause_seconds):
            return self._slower(MINUTE, taken, sent_at, resume_at)
        were_more = self.peak is not None and taken.open <= self.peak * FAR_BELOW_PEAK
        if taken.open > taken.second and not were_more:
            # Before the first refusal more are tried than were answered (`window`): what was open is the measure.
            known = taken.open if self.peak is None else self.window or taken.open
            window = max(1.0, min(known, taken.open))
            return replace(self, window=window, peak=window, cut_at=resume_at)
        return self._slower(SECOND, taken, sent_at, resume_at)

    def _slower(self, name: str, taken: Taken, sent_at: datetime, resume_at: datetime) -> Limits:
        known, count = self.rates.get(name), getattr(taken, name)
        if known is not None:
            return self._with(name, known.refused(count, sent_at, resume_at))
        # Where nothing at all was taken, somebody else has used the account up: that says nothing of what we may do.
        return self._with(name, FoundRate(float(count), resume_at)) if count else self

    def _with(self, name: str, rate: FoundRate) -> Limits:
        return replace(self, rates={**self.rates, name: rate})


def _is_of_the_minute(taken: Taken, pause_seconds: float | None) -> bool:
    if pause_seconds is not None:
        return pause_seconds > LONG_PAUSE_SECONDS
    return not taken.open and taken.idle_seconds is not None and taken.idle_seconds > LONG_PAUSE_SECONDS
