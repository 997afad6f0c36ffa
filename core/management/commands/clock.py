"""Wake the workers of the housekeeping lane every two seconds."""

from __future__ import annotations

import signal
import threading
from typing import Any

import structlog
from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError
from django.db import connection

from core import sql
from core.choices import Lane
from core.services import wake_ups

log = structlog.get_logger(__name__)

TICK_SECONDS = 2.0


class Command(BaseCommand):
    help = "The clock. Run as many as you like: one ticks, the others wait for it to die."

    def handle(self, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        while not stopping.wait(TICK_SECONDS):
            try:
                if sql.try_lock("proofline.clock"):  # until this session ends
                    wake_ups.send(Lane.HOUSEKEEPING)
            except DatabaseError as error:
                log.warning("clock.database_away", error=str(error))
                connection.close()
