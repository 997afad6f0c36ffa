"""List engines and endpoints with their health."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from generation.engines import base as engines
from generation.models import Endpoint


class Command(BaseCommand):
    help = "List engines, endpoints and their health. Exits 1 if an enabled endpoint is not well."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        endpoints = [_look(endpoint) for endpoint in Endpoint.objects.select_related("brand").order_by("slug")]
        is_well = all(entry["is_ok"] for entry in endpoints if entry["is_enabled"])
        if options["json"]:
            self.stdout.write(json.dumps({"engines": engines.ENGINES.names(), "endpoints": endpoints}, default=str))
        else:
            self.stdout.write(f"engines: {', '.join(engines.ENGINES.names())}")
            for entry in endpoints:
                state = ("" if entry["is_enabled"] else "off, ") + ("ok" if entry["is_ok"] else "not well")
                place = f"{entry['engine']}, lane {entry['lane']}"
                self.stdout.write(f"{entry['slug']} ({place}): {state}. {entry['message']}")
            if not endpoints:
                self.stdout.write("No endpoint yet: add one in the admin, or run `make demo`.")
        if not is_well:
            sys.exit(1)


def _look(endpoint: Endpoint) -> dict[str, Any]:
    try:
        engine = engines.build(endpoint.engine, endpoint.config)
        health, obeys = engine.health(), sorted(engine.capabilities().obeys)
        is_ok, message, facts = health.is_ok, health.message, dict(health.facts)
    except (ValueError, TypeError, KeyError, OSError, ImportError, engines.EngineError) as error:
        is_ok, message, facts, obeys = False, f"It cannot be built: {error}", {}, []
    return {
        **{name: getattr(endpoint, name) for name in ("slug", "name", "engine", "lane", "is_enabled")},
        "brand": endpoint.brand.slug if endpoint.brand else None,
        "is_ok": is_ok,
        "message": message,
        "facts": facts,
        "obeys": obeys,
        "price_per_image": str(endpoint.price_per_image),
        "seconds_per_image": endpoint.seconds_per_image,
    }
