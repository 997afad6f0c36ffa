"""Test learned rate limits: what a refusal means, given what the service had accepted before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.rate_limits import CUT, MINUTE, REPEATED_CUT, SECOND, AcceptedSubmissions, LearntLimits, LearntRate

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SENT = NOW - timedelta(milliseconds=40)
counts = st.integers(0, 500)
idles = st.none() | st.floats(0, 60, allow_subnormal=False)
takens = st.builds(
    lambda taken, longer, longest, idle: AcceptedSubmissions(taken, longer, longer + longest, idle),
    counts,
    counts,
    counts,
    idles,
)  # a second never counts more than its minute
pauses = st.none() | st.floats(0, 120, allow_subnormal=False)


def create_usage(taken: int, *, second: int, minute: int, idle: float | None = 0.3) -> AcceptedSubmissions:
    return AcceptedSubmissions(taken, second, minute, idle)


def limits_after_refusal(
    limits: LearntLimits, usage: AcceptedSubmissions, pause: float | None = 0.5, *, at: datetime = NOW
) -> LearntLimits:
    return limits.after_refusal(usage, submitted_at=at - timedelta(milliseconds=40), resume_at=at, pause_seconds=pause)


def test_open_submissions_that_were_sent_long_ago_show_a_limit_of_calls_at_once() -> None:
    limits = limits_after_refusal(LearntLimits(window=9.5), create_usage(8, second=2, minute=40))
    assert (limits.window, limits.peak, dict(limits.rates)) == (8, 8, {})


def test_submissions_that_were_all_sent_in_the_last_second_show_a_limit_of_the_second() -> None:
    limits = limits_after_refusal(LearntLimits(window=6), create_usage(2, second=2, minute=2))
    assert limits.window == 6
    assert limits.rates[SECOND].submissions == 2


def test_fewer_open_than_once_went_well_cannot_be_the_reason() -> None:
    limits = limits_after_refusal(LearntLimits(window=9, peak=9), create_usage(5, second=3, minute=90))
    assert limits.window == 9
    assert limits.rates[SECOND].submissions == 3


def test_much_patience_asked_for_shows_a_limit_of_the_minute() -> None:
    limits = limits_after_refusal(LearntLimits(window=20), create_usage(18, second=7, minute=100), pause=57.0)
    assert limits.window == 20
    assert {name: rate.submissions for name, rate in limits.rates.items()} == {MINUTE: 100}


def test_nothing_accepted_for_a_second_and_nothing_open_shows_a_limit_of_the_minute() -> None:
    assert (
        limits_after_refusal(LearntLimits(), create_usage(0, second=0, minute=30, idle=6.0), pause=None)
        .rates[MINUTE]
        .submissions
        == 30
    )


def test_a_submission_refused_because_it_came_late_shows_no_limit_of_the_minute() -> None:
    limits = LearntLimits(window=6)
    assert limits_after_refusal(limits, create_usage(0, second=0, minute=4, idle=1.2)) == limits
    assert limits_after_refusal(limits, create_usage(0, second=0, minute=4, idle=1.2), pause=None) == limits


def test_an_account_that_somebody_else_uses_up_says_nothing() -> None:
    limits = LearntLimits(window=4)
    assert limits_after_refusal(limits, create_usage(0, second=0, minute=0, idle=None)) == limits


def test_submissions_refused_together_are_one_refusal_and_the_last_one_counts() -> None:
    limits = limits_after_refusal(LearntLimits(window=12), create_usage(11, second=3, minute=60))
    later = limits.after_refusal(
        create_usage(8, second=3, minute=60), submitted_at=SENT, resume_at=NOW, pause_seconds=0.5
    )
    assert later.window == 8
    rated = limits_after_refusal(LearntLimits(), create_usage(0, second=4, minute=4))
    later = rated.after_refusal(
        create_usage(0, second=2, minute=2), submitted_at=SENT, resume_at=NOW, pause_seconds=0.5
    )
    assert later.rates[SECOND].submissions == 2


def test_a_rate_that_was_raised_is_lowered_a_little_twice_and_then_more() -> None:
    limits = LearntLimits(
        rates={SECOND: LearntRate(10.0, NOW - timedelta(seconds=25)).raised(NOW - timedelta(seconds=15))}
    )
    submissions = [limits.rates[SECOND].submissions]
    for moment in range(3):
        limits = limits_after_refusal(
            limits, create_usage(0, second=9, minute=200), at=NOW + timedelta(seconds=2 * moment)
        )
        submissions.append(limits.rates[SECOND].submissions)
    assert [later / earlier for earlier, later in pairwise(submissions)] == pytest.approx([CUT, CUT, REPEATED_CUT])


def test_a_guess_that_is_refused_although_it_was_respected_is_lowered_much() -> None:
    limits = LearntLimits(rates={SECOND: LearntRate(10.0, NOW - timedelta(seconds=5))})
    assert (
        limits_after_refusal(limits, create_usage(0, second=9, minute=200)).rates[SECOND].submissions
        == 10 * REPEATED_CUT
    )


def test_an_undercount_does_not_lower_a_known_rate() -> None:
    raised = LearntRate(2.0, NOW, steps=1, is_first_guess=False)
    assert (
        limits_after_refusal(LearntLimits(rates={SECOND: raised}), create_usage(0, second=1, minute=50))
        .rates[SECOND]
        .submissions
        == 2.0
    )


def test_a_rate_grows_slowly_past_the_place_of_its_refusal_and_then_faster() -> None:
    rate, seen = LearntRate(100.0, NOW), []
    for _ in range(14):
        rate = rate.raised(NOW)
        seen.append(rate.submissions)
    assert seen[5] / 100 < 1 / CUT + 0.005
    assert seen[13] / seen[12] == 1.25


@given(st.lists(st.tuples(takens, pauses, st.integers(0, 90)), max_size=20))
def test_limits_never_rise_by_a_refusal_and_never_forbid_everything(
    refusals: list[tuple[AcceptedSubmissions, float | None, int]],
) -> None:
    limits, at = LearntLimits(), NOW
    for usage, pause, seconds in refusals:
        at += timedelta(seconds=seconds)
        lowered = limits_after_refusal(limits, usage, pause, at=at)
        assert lowered.window is None or lowered.window >= 1
        assert limits.window is None or (lowered.window is not None and lowered.window <= max(1, limits.window))
        for name, rate in limits.rates.items():
            assert 0 < lowered.rates[name].submissions <= max(1, rate.submissions)
        assert {name: LearntRate.from_json(rate.to_json()) for name, rate in lowered.rates.items()} == lowered.rates
        limits = lowered
