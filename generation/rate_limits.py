"""Learn the unknown limits of a service from what it accepts and what it refuses (429). No database here.

A refusal says that there is a limit, but not which: on open calls, on submissions per second, or on submissions per
minute. What the service had accepted just before tells them apart, and also gives the limit: it is set to what was
accepted, not to a guessed share of it. Later refusals lower it a little, quiet times raise it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

SECOND, MINUTE = "second", "minute"
LONG_PAUSE_SECONDS = 5.0
"""A service that asks for a longer pause than this counts by the minute. So does a service that names no pause and
refuses although it has accepted nothing for so long."""
FAR_BELOW_PEAK = 0.75
REPEATED_CUT, CUT = 0.85, 0.97
CHANCES = 2
"""The number of refusals after a raise that are blamed on the raise, or on submissions that arrived closer together
than they were sent."""
GROWTH, MOST_GROWTH, QUIET_STEPS = 0.005, 0.25, 6
GROWS_EVERY = timedelta(seconds=10)
"""A limit is raised by half a per cent at a time until it is past the value at which it was refused, and then by twice
as much with each step: the learned limit may have been chance, or the service may have raised it."""


@dataclass(frozen=True)
class AcceptedSubmissions:
    """The submissions that a service had accepted when it refused: open ones, and those of the last second and minute.
    idle_seconds: since the latest of them; None if there is none."""

    open: int
    second: int
    minute: int
    idle_seconds: float | None


@dataclass(frozen=True)
class LearntRate:
    """A learned rate. submissions: submissions in each second or minute. steps: raises since it was last lowered.
    changed_at: when it was last changed, or when the pause after that ends. chances: the number of coming refusals
    that lower it only a little."""

    submissions: float
    changed_at: datetime
    steps: int = 0
    chances: int = 0
    is_first_guess: bool = True

    def after_refusal(self, taken: int, submitted_at: datetime, resume_at: datetime) -> Self:
        """Return the rate after a refusal although it was kept. Submissions sent before the last change lower only a
        first guess, because submissions that are under way together are refused together."""
        if submitted_at < self.changed_at:
            return replace(self, submissions=min(self.submissions, max(1.0, taken))) if self.is_first_guess else self
        lowered = self.submissions * (CUT if self.chances else REPEATED_CUT)
        left = max(0, self.chances - 1)
        return replace(self, submissions=lowered, changed_at=resume_at, steps=0, chances=left, is_first_guess=False)

    def raised(self, now: datetime) -> Self:
        raised = self.submissions * (1 + min(MOST_GROWTH, GROWTH * 2 ** max(0, self.steps - QUIET_STEPS)))
        steps = self.steps + 1
        return replace(self, submissions=raised, changed_at=now, steps=steps, chances=CHANCES, is_first_guess=False)

    def can_grow(self, now: datetime) -> bool:
        return now - self.changed_at >= GROWS_EVERY

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "changed_at": datetime.fromisoformat(data["changed_at"])})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "changed_at": self.changed_at.isoformat()}


@dataclass(frozen=True)
class LearntLimits:
    """The learned limits. window: open submissions, None while unknown; peak: how many were open at the latest refusal
    for that reason."""

    window: float | None = None
    peak: float | None = None
    cut_at: datetime | None = None
    rates: Mapping[str, LearntRate] = field(default_factory=dict)

    def after_refusal(
        self, taken: AcceptedSubmissions, *, submitted_at: datetime, resume_at: datetime, pause_seconds: float | None
    ) -> LearntLimits:
        """Return the limits after the refusal of a submission sent at `submitted_at`. The service asked for
        `pause_seconds` (None if it named no pause), and nothing is submitted until `resume_at`."""
        for name, rate in self.rates.items():
            if submitted_at < rate.changed_at:
                return self._with(name, rate.after_refusal(getattr(taken, name), submitted_at, resume_at))
        if self.cut_at is not None and submitted_at < self.cut_at:
            return replace(self, window=min(self.window or taken.open, max(1, taken.open)))
        if _is_of_the_minute(taken, pause_seconds):
            return self._slower(MINUTE, taken, submitted_at, resume_at)
        were_more = self.peak is not None and taken.open <= self.peak * FAR_BELOW_PEAK
        if taken.open > taken.second and not were_more:
            # Before the first refusal more are tried than were answered (`window`), so the open ones give the limit.
            limit = taken.open if self.peak is None else self.window or taken.open
            window = max(1.0, min(limit, taken.open))
            return replace(self, window=window, peak=window, cut_at=resume_at)
        return self._slower(SECOND, taken, submitted_at, resume_at)

    def _slower(
        self, name: str, taken: AcceptedSubmissions, submitted_at: datetime, resume_at: datetime
    ) -> LearntLimits:
        rate, count = self.rates.get(name), getattr(taken, name)
        if rate is not None:
            return self._with(name, rate.after_refusal(count, submitted_at, resume_at))
        # If nothing was accepted, somebody else has used up the account, so nothing can be learned from the refusal.
        return self._with(name, LearntRate(float(count), resume_at)) if count else self

    def _with(self, name: str, rate: LearntRate) -> LearntLimits:
        return replace(self, rates={**self.rates, name: rate})


def _is_of_the_minute(taken: AcceptedSubmissions, pause_seconds: float | None) -> bool:
    if pause_seconds is not None:
        return pause_seconds > LONG_PAUSE_SECONDS
    return not taken.open and taken.idle_seconds is not None and taken.idle_seconds > LONG_PAUSE_SECONDS
