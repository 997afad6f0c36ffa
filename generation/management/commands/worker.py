"""Run a worker for one or more lanes."""

from __future__ import annotations

import os
import socket
import uuid
from argparse import ArgumentParser
from typing import Any

import django_rq
from django.core.management.base import BaseCommand
from rq.serializers import JSONSerializer

from core import sql
from core.choices import Lane
from generation.workers import process


class Command(BaseCommand):
    help = "Run a worker. One process per GPU for the gpu lane; the other lanes may share one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("lanes", nargs="+", choices=Lane.values)
        parser.add_argument("--name", default="", help="shown on pages and in the audit trail")
        parser.add_argument("--burst", action="store_true", help="stop when no message is left")

    def handle(self, *, lanes: list[str], name: str, burst: bool, **options: Any) -> None:
        sql.prepare_repeated_statements()
        name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:4]}"
        lanes = process.sort_by_urgency(lanes)
        queues = [django_rq.get_queue(lane) for lane in lanes]
        worker = process.PollingWorker(queues, name=name, connection=queues[0].connection, serializer=JSONSerializer)
        worker.lane_worker = process.start(name, lanes)
        self.stdout.write(f"worker {name} serves {', '.join(lanes)}")
        try:
            worker.work(burst=burst, logging_level="WARNING")
        finally:
            process.stop()
