"""The time at which things are recorded. Example history is made by the real services at an earlier time than now.

Leases, limits and sign-in never read this clock: they are about the machine, not about the story.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.utils import timezone

_behind = timedelta(0)


def now() -> datetime:
    """The time at which what is done is done (aware, UTC)."""
    return timezone.now() - _behind


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    """Let what follows happen from `moment` on, seconds passing as ever. For a process that does nothing else."""
    global _behind
    before, _behind = _behind, timezone.now() - moment
    try:
        yield
    finally:
        _behind = before


class MomentField(models.DateTimeField):
    """A DateTimeField whose `auto_now` and `auto_now_add` follow this clock; to migrations, Django's own."""

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        if self.auto_now or (self.auto_now_add and add):
            setattr(model_instance, self.attname, now())
            return getattr(model_instance, self.attname)
        return super().pre_save(model_instance, add)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs
