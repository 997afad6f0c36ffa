"""`manage.py demo`: run the example brand from its feed to review and show the progress (`make demo`)."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from importlib import invalidate_caches
from pathlib import Path
from typing import Any, NoReturn

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count, Max, Min
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from campaigns.choices import SubjectKind
from campaigns.models import FeedImport, Subject
from campaigns.services import archives, campaigns, imports
from config import embedded, env, supervisor
from core import clock
from core.errors import DomainError
from core.models import Brand, User
from examples import history, loading, publishing, running, sketches, tour
from generation.choices import AttemptOutcome, JobState, RunState, Stage
from generation.models import Asset, Attempt, Endpoint, Run
from generation.selectors import runs as run_selectors
from review.models import ReviewTask

ENDPOINT = "packshot"
HOST = "127.0.0.1"
POLL_SECONDS = 0.3
#: The demo stops waiting when workers have finished nothing for so long.
STALLED_SECONDS = 240


class Command(BaseCommand):
    help = "Run the example brand's main job: import, plan, generate, check, review. Run again, it goes on."
    # The command migrates first; checks that need tables would come too early.
    requires_system_checks: Any = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="do not serve; print one JSON object and end")
        parser.add_argument("--port", type=int, help="of the pages; 8000 or the next free one")
        parser.add_argument("--no-model", action="store_true", help="leave out what the little model draws")
        parser.add_argument("--weights", type=Path, default=sketches.WEIGHTS, help="folder of the little model")
        parser.add_argument("--engines-by", default="", metavar="COMMAND", help="installs torch; runs beside the rest")

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = time.monotonic()
        self.console = Console(highlight=False, stderr=options["once"])
        self.weights: Path | None = None if options["no_model"] else options["weights"].absolute()
        self.left_out = "--no-model was asked for." if options["no_model"] else ""
        # Without weights torch is not needed.
        can_use_it = self.weights is not None and sketches.has_weights(self.weights)
        installer = shlex.split(options["engines_by"]) if can_use_it else []
        log = env.var_dir() / "log" / "engines.log"
        try:
            with supervisor.run_in_background(installer, log=log) as self.installing, embedded.services(watch=True):
                if not options["once"]:
                    self._serve(options["port"])
                result = self._run_once()
        except KeyboardInterrupt:
            self.console.print("Stopped. `make demo` goes on from here.")
            sys.exit(130 if options["once"] else 0)
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(json.dumps(asdict(result)))
        sys.exit(0 if result.is_complete else 1)

    def _run_once(self) -> tour.DemoResult:
        run = self._prepare(with_history=False)
        with self._run_programs([*self._magazine_programs(), *supervisor.worker_programs()]) as processes:
            return self._show_progress(run, processes)

    def _serve(self, requested_port: int | None) -> NoReturn:
        first = requested_port or env.number("PORT", 8000)
        port = supervisor.find_free_port(HOST, first)
        site = os.environ.setdefault("SITE_URL", f"http://{HOST}:{port}")
        run = self._prepare(with_history=True)
        call_command("collectstatic", interactive=False, verbosity=0)
        web = supervisor.web_program(host=HOST, port=port)
        with self._run_programs([web, *self._magazine_programs(), *supervisor.worker_programs()]) as processes:
            if not supervisor.wait_until_reachable(HOST, port, seconds=60):
                raise CommandError(f"The pages do not answer; see {env.var_dir() / 'log' / 'web.log'}.")
            if port != first:
                self.console.print(f"Port {first} is taken; the pages are on {port}.")
            self.console.print(f"\n[bold]{site}[/]  the same progress on the run's page", soft_wrap=True)
            self.console.print(tour.list_accounts(self.examples))
            result = self._show_progress(run, processes)
            self.console.print()
            for line in tour.describe(site, self.examples[0], result, self.second_act):
                self.console.print(line, soft_wrap=True)
            while True:
                processes.restart_ended()
                time.sleep(0.5)

    def _run_programs(self, programs: list[supervisor.Program]) -> AbstractContextManager[supervisor.ProcessGroup]:
        return supervisor.run_programs(programs, write=supervisor.to_files(env.var_dir() / "log"))

    def _magazine_programs(self) -> list[supervisor.Program]:
        """Return the process of the Wagtail site, if wagtail is installed."""
        self.magazine = publishing.find_magazine(env.var_dir() / "wagtail")
        return [self.magazine.program] if self.magazine else []

    def _prepare(self, *, with_history: bool) -> Run:
        """Create tables, brands, people, products and photos, and release the pilot run. Existing rows stay."""
        self._run_step("tables", lambda: call_command("migrate", interactive=False, verbosity=0))
        is_fresh = not Brand.objects.exists()
        with clock.at(history.campaign_start()) if with_history and is_fresh else nullcontext():
            approved = env.var_dir() / "approved"
            self.examples = self._run_step(
                "brands, people, guide, prompts", lambda: loading.load_all(delivered_to=approved)
            )
            for example in self.examples:
                self._run_step(f"feed of {example.brand.name}", lambda example=example: self._import(example))
        if with_history:
            self._run_step("six weeks of example history", lambda: self._make_history(self.examples[0]))
        return self._run_step("pilot run", lambda: self._release(self.examples[0]))

    def _run_step(self, what: str, do: Any) -> Any:
        began = time.monotonic()
        result = do()
        value, note = result if isinstance(result, tuple) else (result, "")
        self.console.print(f"  [green]✓[/] {what} {note} [dim]{time.monotonic() - began:.1f} s[/]", soft_wrap=True)
        return value

    def _import(self, example: loading.Example) -> tuple[FeedImport, str]:
        """Import the feed as a customer would, then the photos from the folder beside it."""
        name = example.feed.name
        done = imports.import_feed(brand=example.brand, file=example.feed, file_name=name, by=example.owner)
        if done.error_count:
            raise CommandError(f"{example.feed} has {done.error_count} mistakes; `manage.py import_feed` shows them.")
        taken = archives.attach_folder(brand=example.brand, folder=example.photos, by=example.owner)
        sold = Subject.objects.filter(brand=example.brand, kind=SubjectKind.PRODUCT, is_active=True)
        subject_ids = list(sold.values_list("pk", flat=True))
        campaigns.add_subjects(campaign_id=example.campaign.pk, by=example.owner, subject_ids=subject_ids)
        refused = f", {taken.refused} refused" if taken.refused else ""
        return done, f"{done.rows} rows: {done.created} new; photos: {taken.ready} ready{refused}"

    def _make_history(self, example: loading.Example) -> tuple[None, str]:
        if Run.objects.filter(campaign__brand=example.brand).exists():
            return None, "left as it is"
        people = {role: User.objects.get(username=example.login_of(role)) for role in history.ROLES}
        made = history.make(brand=example.brand, people=people, endpoint=Endpoint.objects.get(slug=ENDPOINT))
        return None, f"{made.name}: {Asset.objects.filter(campaign=made).count()} images, decided and delivered"

    def _release(self, example: loading.Example) -> tuple[Run, str]:
        """Continue the campaign's pilot run, or release a new one."""
        settings = running.RunSettings(
            campaign=example.campaign,
            prompt=example.brand.prompt_templates.order_by("pk")[0],
            endpoint=Endpoint.objects.get(slug=ENDPOINT),
            stage=Stage.PILOT,
            name="Pilot",
            by=example.owner,
        )
        run, is_new = running.ensure_run(settings)
        if is_new:
            return run, f"{run.job_count} images to make, {run.quoted_cost:.2f} {example.brand.currency}"
        return run, f"{run.name} goes on where it was"

    def _show_progress(self, run: Run, processes: supervisor.ProcessGroup) -> tour.DemoResult:
        """Show the progress of the run and of the little model until both are over or nothing moves."""
        columns = (
            *(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
            *(TimeElapsedColumn(), TextColumn("{task.fields[rate]}")),
        )
        began, last_done, moved_at, at_start = time.monotonic(), -1, time.monotonic(), None
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task("images made, checked and in review", total=run.job_count, rate="")
            self.model_runs: list[Run] = []
            self.second_act = publishing.SecondAct(self.examples[0], run, self.magazine)
            drawing, is_drawing = self._run_little_model(bar), True
            publishing_steps, is_publishing = self.second_act.steps(bar), True
            while True:
                processes.restart_ended()
                is_drawing = is_drawing and next(drawing, None) is not None
                is_publishing = is_publishing and next(publishing_steps, None) is not None
                done = run_selectors.funnel(run).done
                at_start = done if at_start is None else at_start
                now = time.monotonic()
                moved = done + self._count_model_images() + self.second_act.count().arrived
                if moved != last_done:
                    last_done, moved_at = moved, now
                    rate = (done - at_start) / max(now - began, 0.1)
                    bar.update(task, completed=done, rate=f"{rate:.1f} a second" if done > at_start else "")
                if running.has_ended(run) and not is_drawing and not is_publishing:
                    break
                if now - moved_at > STALLED_SECONDS and self.installing.is_over:
                    self.console.print(f"[red]Nothing moved for {STALLED_SECONDS} s;[/] see {env.var_dir() / 'log'}.")
                    break
                time.sleep(POLL_SECONDS)
        if run.state == RunState.PAUSED:
            self.console.print(f"[yellow]The run is paused:[/] {run.pause_reason}")
        return self._collect_result(run)

    def _count_model_images(self) -> int:
        return sum(run_selectors.funnel(run).done for run in self.model_runs)

    def _run_little_model(self, bar: Progress) -> Iterator[bool]:
        """Run the little model's part in steps: draw places and ideas, choose places, make packshots on them."""
        yield from self._wait_for_torch(bar)
        if self.weights is None or (why := self._find_obstacle(self.weights)):
            self.left_out = self.left_out or why
            sentence = f"  [yellow]![/] the little model's images are left out: {self.left_out}"
            self.console.print(sentence, soft_wrap=True)
            return
        self.sketches = sketches.load(self.examples[0], self.weights)
        self.model_runs = sketches.start_runs(self.sketches)
        task = bar.add_task("of the little model: places, ideas", total=_count_jobs(self.model_runs), rate="")
        yield from self._wait_for_model_runs(bar, task)
        before = sketches.start_packshots(self.sketches, sketches.choose_places(self.sketches))
        self.model_runs += [before] if before else []
        bar.update(task, total=_count_jobs(self.model_runs), description="of the little model, packshots on its places")
        yield from self._wait_for_model_runs(bar, task)

    def _wait_for_torch(self, bar: Progress) -> Iterator[bool]:
        if self.installing.is_over:
            return
        log = tour.display_path(self.installing.log)
        task = bar.add_task(f"torch for the little model comes, see {log}", total=None, rate="")
        while not self.installing.is_over:
            yield True
        bar.remove_task(task)

    def _find_obstacle(self, weights: Path) -> str:
        invalidate_caches()
        if sketches.missing_packages() and self.installing.has_failed:
            log = tour.display_path(self.installing.log)
            return f"torch could not be installed, and {log} says why. `make engines` tries again, then `make demo`."
        return sketches.unavailable_reason(weights)

    def _wait_for_model_runs(self, bar: Progress, task: TaskID) -> Iterator[bool]:
        while not all(running.has_ended(run) for run in self.model_runs):
            bar.update(task, completed=self._count_model_images())
            yield True
        bar.update(task, completed=self._count_model_images())

    def _collect_result(self, run: Run) -> tour.DemoResult:
        assets = Asset.objects.filter(cell__run=run)
        good = Attempt.objects.filter(job__run=run, outcome=AttemptOutcome.SUCCEEDED)
        made = good.aggregate(count=Count("pk"), first=Min("started_at"), last=Max("ended_at"))
        span = (made["last"] - made["first"]).total_seconds() if made["count"] else 0.0
        jobs = run_selectors.funnel(run).jobs
        runs = self.model_runs
        return tour.DemoResult(
            products=Subject.objects.filter(cells__run=run).distinct().count(),
            jobs=sum(jobs.values()),
            assets=assets.count(),
            in_review=ReviewTask.objects.filter(asset__in=assets).values("asset").distinct().count(),
            failed=jobs[JobState.FAILED] + jobs[JobState.QUARANTINED] + jobs[JobState.CANCELLED],
            seconds=round(time.monotonic() - self.began, 1),
            images_per_second=round(made["count"] / span, 2) if span else 0.0,
            little_model=sketches.count_images(self.sketches, runs) if runs else sketches.ImageCounts(),
            left_out=self.left_out,
            published=self.second_act.count(),
        )


def _count_jobs(runs: list[Run]) -> int:
    return sum(run.job_count for run in runs)
