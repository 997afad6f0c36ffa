"""The clock for recorded times, which the demo sets back. Leases, limits and sign-in need the real time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.utils import timezone

_behind = timedelta(0)


def now() -> datetime:
    """Return the time to record for an action (aware, UTC)."""
    return timezone.now() - _behind


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    """Set the clock back to `moment` during the block; it runs at normal speed. Do no other work in the process."""
    global _behind
    before, _behind = _behind, timezone.now() - moment
    try:
        yield
    finally:
        _behind = before


class MomentField(models.DateTimeField):
    """A DateTimeField whose `auto_now` and `auto_now_add` use this clock; migrations see Django's DateTimeField."""

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        if self.auto_now or (self.auto_now_add and add):
            setattr(model_instance, self.attname, now())
            return getattr(model_instance, self.attname)
        return super().pre_save(model_instance, add)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs
