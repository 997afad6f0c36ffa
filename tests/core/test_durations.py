"""Test how pages show times and durations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from core.templatetags import proofline


@pytest.mark.parametrize(
    ("passed", "shown"),
    [
        ({"seconds": 4}, "4 seconds ago"),
        ({"minutes": 61}, "an hour ago"),
        ({"hours": 23, "minutes": 59}, "23 hours ago"),
        ({"days": 1, "hours": 5}, "1 day ago"),
        ({"days": 17}, "2 weeks ago"),
    ],
)
def test_a_past_time_is_shown_in_one_unit(passed: dict[str, int], shown: str) -> None:
    assert proofline.ago(timezone.now() - timedelta(**passed)).replace("\xa0", " ") == shown


def test_a_time_that_never_was_is_shown_as_never() -> None:
    assert proofline.ago(None) == "never"


@pytest.mark.parametrize(
    ("duration", "shown"),
    [(None, "–"), (3.21, "3.2 s"), (42.4, "42 s"), (75, "1 min 15 s"), (660, "11 min"), (3900, "1 h 5 min")],
)
def test_a_duration_is_shown_in_its_two_largest_units(duration: float | None, shown: str) -> None:
    assert proofline.seconds(duration) == shown


def test_an_interval_of_durations_that_look_the_same_is_shown_once() -> None:
    assert (proofline.between(20, 75), proofline.between(20.1, 20.2)) == ("20 s to 1 min 15 s", "20 s")
