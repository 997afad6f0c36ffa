"""Planning: compute what a run would make and cost (`preview`), and write its rows (`plan`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, NoReturn

from django.db import connection, models, transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.models import PromptVersion, Subject
from campaigns.services import campaigns
from campaigns.services import prompts as prompt_services
from core import clock, sql
from core.errors import Invalid, NotFound, Problem
from core.models import Brand, User
from generation import events
from generation.choices import HoldReason, JobState, RunShape, RunState, Stage
from generation.models import Asset, Cell, Endpoint, Job, JobSpec, PinnedInputs, Run, ScheduledRun
from generation.selectors import runs as run_selectors
from generation.services import runs
from generation.services.dispatch import routing
from generation.services.planning import plan_requests, previews
from generation.services.planning.counting import DraftCounter, describe_empty_run
from generation.services.planning.drafts import Draft, Drafter
from generation.services.planning.plan_requests import PlanArguments, PlanRequest

JOBS_PER_COPY = 5000


def preview(arguments: PlanArguments) -> previews.Preview:
    """Preview a run without writing anything. Raises NotAllowed, and Invalid for problems of the run as a whole."""
    request = plan_requests.load(arguments)
    drafter = Drafter(request)
    builder = previews.PreviewBuilder(request)
    for batch in _batches(drafter.drafts()):
        builder.add(batch)
    return builder.result(drafter)


@transaction.atomic
def plan(
    arguments: PlanArguments,
    *,
    name: str = "",
    priority: int = 0,
    job_template: str = "",
    cloned_from: Run | None = None,
    scheduled_run: ScheduledRun | None = None,
    release_at: datetime | None = None,
    alternates: Sequence[Endpoint] = (),
) -> Run:
    """Write a run with its cells, jobs, frozen specs and assets; jobs are held until release, or until `release_at`.

    Images for which something is missing (a photo, a value) are left out, and the run lists them. Raises Invalid, and
    leaves no row, if nothing can be made, for a mistake in the request, and for files that would share a name. Rows are
    written with COPY in chunks; memory does not grow with the run. If two people plan the missing images at the same
    time, the second does not plan again what the first has planned. alternates: as in `routing.set_alternates`.
    """
    campaign, by, stage = arguments.campaign, arguments.by, arguments.stage
    if arguments.missing_only:
        campaigns.lock(campaign.pk)
    version = prompt_services.lock(arguments.prompt_version.pk)
    request = plan_requests.load(replace(arguments, prompt_version=version))
    if cloned_from is not None and cloned_from.campaign.brand_id != campaign.brand_id:
        raise NotFound(_("There is no run %(id)s.") % {"id": cloned_from.pk})
    run = Run.objects.create(
        campaign=campaign,
        prompt_version=version,
        endpoint=request.endpoint,
        guide_version=request.guide,
        name=name or f"{version.template.name} v{version.number}, {Stage(stage).label.lower()}",
        stage=stage,
        shape=request.shape,
        definition=request.definition(),
        priority=priority,
        job_template=job_template,
        cloned_from=cloned_from,
        scheduled_run=scheduled_run,
        release_at=release_at and runs.validate_release_time(release_at),
        requested_by=by,
    )
    counter = _write(request, run)
    left_out = [asdict(cause) for cause in counter.left_out]
    counts = {"cell_count": counter.cells, "job_count": counter.jobs, "left_out": left_out}
    runs.move(run, RunState.PLANNED, quoted_cost=counter.cost, **counts)
    run.refresh_from_db()
    run.campaign = campaign
    prompt_services.mark_used(version=version, by=by)
    payload = {"stage": str(run.stage), "cells": run.cell_count, "jobs": run.job_count, "cost": str(run.quoted_cost)}
    if counter.left_out_count:
        payload["left_out"] = counter.left_out_count
    payload |= {"campaign": run.campaign_id, "prompt_version": version.pk, "endpoint": request.endpoint.slug}
    if release_at:
        payload["release_at"] = release_at.isoformat()
    runs.publish(events.RunPlanned, run, payload, by)
    if alternates:
        routing.set_alternates(run_id=run.pk, endpoints=alternates, by=by)
    return run


def plan_tryout(
    *,
    brand: Brand,
    prompt_version: PromptVersion,
    endpoint: Endpoint,
    rows: Iterable[Mapping[str, Any]],
    by: User,
    name: str,
) -> Run:
    """Plan a list run in the brand's sandbox, with all of its images or none."""
    arguments = PlanArguments(
        campaign=campaigns.get_or_create_sandbox(brand=brand, by=by),
        prompt_version=prompt_version,
        endpoint=endpoint,
        stage=Stage.SANDBOX,
        by=by,
        shape=RunShape.LIST,
        rows=rows,
        all_or_nothing=True,
    )
    return plan(arguments, name=name)


def copy_run(*, run_id: int, by: User) -> tuple[Run, PlanArguments]:
    """Return a run and its request, to be planned again: with the subjects that are still active, and rows by key.

    Raises NotFound, also for a run that the person may not see.
    """
    run = run_selectors.get(by, run_id)
    definition = run.definition
    ids = definition.get("subjects", "all")
    rows = [dict(row) for row in definition.get("rows", ())]
    named = [*(ids if ids != "all" else ()), *(row["subject"] for row in rows)]
    numbers = [name for name in named if isinstance(name, int)]
    active = Subject.objects.filter(is_active=True).only("key").in_bulk(numbers)
    for row in rows:
        row["subject"] = active[row["subject"]].key if row["subject"] in active else row["subject"]
    return run, PlanArguments(
        campaign=run.campaign,
        prompt_version=run.prompt_version,
        endpoint=run.endpoint,
        stage=run.stage,
        by=by,
        subjects=None if ids == "all" else [active[pk] for pk in ids if pk in active],
        shape=run.shape,
        rows=rows,
        axes=definition.get("axes"),
        sample=definition.get("sample"),
        aspects=definition.get("aspects"),
        missing_only=bool(definition.get("missing_only")),
    )


@transaction.atomic
def plan_again(*, run_id: int, by: User, name: str = "", release_at: datetime | None = None, **changes: Any) -> Run:
    """Plan a run again, with another prompt_version, endpoint or stage if given. Raises what `plan` does.

    Subjects that no longer exist are left out; "all" means all of the campaign now. Another version brings its own
    axes, unless the run had axes that differed from those of its prompt.
    """
    run, arguments = copy_run(run_id=run_id, by=by)
    has_own_axes = arguments.axes != {axis: list(values) for axis, values in run.prompt_version.axes.items()}
    again = replace(arguments, **changes)
    if again.prompt_version != run.prompt_version and not has_own_axes:
        again = replace(again, axes=None)
    return plan(
        again,
        name=name or run.name,
        job_template=run.job_template,
        cloned_from=run,
        release_at=release_at,
        alternates=list(run.alternates.filter(is_enabled=True)),
    )


def _batches(drafts: Iterator[Draft]) -> Iterator[list[Draft]]:
    """Yield the drafts in lists of about JOBS_PER_COPY jobs."""
    batch: list[Draft] = []
    weight = 0
    for draft in drafts:
        batch.append(draft)
        weight += max(1, len(draft.jobs))
        if weight >= JOBS_PER_COPY:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _write(request: PlanRequest, run: Run) -> DraftCounter:
    """Stream the drafts into the tables, without those that lack something; returns the counts.

    After the first mistake nothing more is written, and the remaining drafts are read only to count the problems.
    """
    drafter = Drafter(request)
    counter = DraftCounter(request)
    for batch in _batches(drafter.drafts()):
        position = counter.cells
        ready, _masters = counter.add(batch)
        if ready and not counter.blocking_count:
            _copy(request, run, ready, position)
    counter.add_unknown(drafter.unknown)
    if counter.blocking_count or (counter.problems and not counter.cells):
        _refuse(counter)
    if collisions := list(counter.files.collisions.values()):
        listed = [
            Problem(f"output_specs/{collision.spec}/name_pattern", collision.message, collision.pattern)
            for collision in collisions
        ]
        raise Invalid(_("Nothing was planned: %(problem)s") % {"problem": collisions[0].message}, listed)
    if not counter.cells:
        message = describe_empty_run(request)
        raise Invalid(message, [Problem("subjects", message)])
    return counter


def _refuse(counter: DraftCounter) -> NoReturn:
    """Raise Invalid with the first problems, and how many there are of each kind."""
    count, first = counter.kinds.total(), counter.problems[0]
    message = ngettext(
        "Nothing was planned: there is %(n)d problem, with %(subject)s: %(problem)s",
        "Nothing was planned: there are %(n)d problems, the first with %(subject)s: %(problem)s",
        count,
    )
    message %= {"n": count, "subject": first.subject, "problem": first.message}
    listed = [Problem(f"subjects/{problem.subject}", problem.message, problem.kind) for problem in counter.problems]
    raise Invalid(message, listed, problem_count=count, kinds=dict(counter.kinds))


def _copy(request: PlanRequest, run: Run, batch: Sequence[Draft], position: int) -> None:
    """Insert the rows of these drafts. position: of the first cell in the run."""
    campaign_id, brand_id = run.campaign_id, request.campaign.brand_id
    cells = list(zip(_reserve_ids(Cell, len(batch)), batch, strict=True))
    drawn = [(cell_id, draft, job) for cell_id, draft in cells for job in draft.jobs]
    jobs = list(zip(_reserve_ids(Job, len(drawn)), drawn, strict=True))
    _insert(
        Cell,
        same={"run_id": run.pk},
        fields=["id", "subject_id", "axis_values", "values_key", "aspect", "position"],
        rows=(
            (cell_id, draft.subject.id, dict(draft.values), draft.values_key, draft.group.aspect, position + at)
            for at, (cell_id, draft) in enumerate(cells)
        ),
    )
    _insert(
        Asset,
        same={"brand_id": brand_id, "campaign_id": campaign_id, "is_sandbox": run.stage == Stage.SANDBOX},
        fields=["subject_id", "cell_id"],
        rows=((draft.subject.id, cell_id) for cell_id, draft in cells),
    )
    _insert(
        Job,
        same={
            "run_id": run.pk,
            "campaign_id": campaign_id,
            "endpoint_id": run.endpoint_id,
            "lane": request.endpoint.lane,
            "priority": run.priority,
            "status": JobState.HELD.value,
            "hold_reason": HoldReason.NOT_RELEASED.value,
        },
        fields=["id", "cell_id", "batch_key"],
        rows=((job_id, cell_id, draft.batch_key) for job_id, (cell_id, draft, _job) in jobs),
    )
    _insert(
        JobSpec,
        same={"brand_id": brand_id, "round": 1, "maker": request.maker.to_json()},
        fields=["job_id", "cell_id", "candidate", "fingerprint", "quoted_cost", "spec"],
        rows=(
            (job_id, cell_id, job.candidate, job.fingerprint, draft.cost, job.spec)
            for job_id, (cell_id, draft, job) in jobs
        ),
    )
    _insert(
        PinnedInputs,
        same={},
        fields=["cell_id", "subject_id", "feed_values", "photo_pk", "photo_sha256", "cutout_sha256"],
        rows=((cell_id, draft.subject.id, dict(draft.feed_values), *draft.photo) for cell_id, draft in cells),
    )


def _reserve_ids(model: type[models.Model], count: int) -> list[int]:
    """Return `count` primary keys from the model's sequence, so that rows of several tables can refer to each other."""
    key = model._meta.pk
    assert key is not None
    # The ORM has no sequences, and it inserts several times as slowly as COPY below.
    statement = "SELECT nextval(pg_get_serial_sequence(%s, %s)::regclass) FROM generate_series(1, %s)"
    return [row[0] for row in sql.rows(statement, [model._meta.db_table, key.column, count])]


def _insert(
    model: type[models.Model], *, same: Mapping[str, Any], fields: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows into the model's table with COPY. `fields` names the values of each row, `same` has the values that
    are equal for all rows; every other column gets its model default. Names are those of columns ("cell_id"). JSON
    columns take plain values or JSON text."""
    constant = {**_defaults(model), **same}
    shared = [name for name in constant if name not in fields]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(name) for name in [*shared, *fields])
    head = [_plain(constant[name]) for name in shared]
    with sql.copy(f"COPY {quote(model._meta.db_table)} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([*head, *(_plain(value) for value in row)])


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _defaults(model: type[models.Model]) -> dict[str, Any]:
    """Return, by column, the value that `Model()` would have; columns that the database fills are left out."""
    now = clock.now()
    defaults: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        column = str(field.column)
        if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
            defaults[column] = now
        elif field.has_default():
            defaults[column] = field.get_default()
        elif not field.primary_key and not field.null and isinstance(field, models.CharField | models.TextField):
            defaults[column] = ""
    return defaults
