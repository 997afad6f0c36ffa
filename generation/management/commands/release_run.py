"""Release a planned run from the command line."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from core.management import acting
from core.models import User
from generation.selectors import runs as run_selectors
from generation.services import runs


class Command(BaseCommand):
    help = "Queue a planned run's jobs. A full run needs its pilot, or a lead's --override REASON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", type=int, help="the run's number, as plan_run printed it")
        parser.add_argument("--override", default="", metavar="REASON", help="release a full run before its pilot")
        parser.add_argument(
            "--reuse-rejected", action="store_true", help="also bring back images that were rejected before"
        )
        acting.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        by = acting.acting_user(options["username"])
        answer = acting.run_or_report_refusal(
            lambda: self._release(by, options), as_json=options["json"], stdout=self.stdout
        )
        if options["json"]:
            self.stdout.write(json.dumps(answer, default=str))
            return
        self.stdout.write(
            f"Run {answer['run']} is {answer['state']}: {answer['queued']} jobs queued, {answer['reused']} of them "
            f"have their image already, {answer['left_out']} left out."
        )

    def _release(self, by: User, options: dict[str, Any]) -> dict[str, Any]:
        seen = run_selectors.get(by, options["run"])
        run = runs.release(
            run_id=seen.pk, by=by, override_reason=options["override"], reuse_rejected=options["reuse_rejected"]
        )
        jobs = run_selectors.funnel(run).jobs
        return {
            "run": run.pk,
            "state": run.state,
            "queued": jobs["queued"],
            "reused": run.reused_count,
            "left_out": jobs["cancelled"],
        }
