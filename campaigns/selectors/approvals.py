"""Count the approved images of a brand, with functions that higher apps register here."""

from __future__ import annotations

from collections.abc import Callable

from core.models import Brand, User

Counter = Callable[[User, Brand], int]

_counts: list[Counter] = []


def register_counter(count: Counter) -> Counter:
    """Register a function that counts the approved images of a brand; used as a decorator."""
    _counts.append(count)
    return count


def count_approved_images(user: User, brand: Brand) -> int:
    """Return how many approved images a new guide could send back to review."""
    return sum(counted(user, brand) for counted in _counts)
