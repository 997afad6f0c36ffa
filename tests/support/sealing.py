"""Seal the events of a test, as housekeeping does."""

from __future__ import annotations

import time

from core.models import Event
from core.services import audit


def seal() -> None:
    """Seal all committed events; wait until no earlier transaction is open any more."""
    for _ in range(100):
        audit.seal()
        if not Event.objects.filter(seal__isnull=True).exists():
            return
        time.sleep(0.05)
