"""The next round of an asset: the same image again with the changes that a person wants in the engine's controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from campaigns.choices import PhotoStatus
from campaigns.models import ReferencePhoto
from core import clock
from core.errors import Conflict, Invalid, NotFound, Problem
from core.events import publish
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation import control_values, events
from generation.choices import AssetState, HoldReason, JobState, RunState
from generation.engines import base as engines
from generation.engines.base import Control, Engine, Spec
from generation.models import Asset, AssetVersion, Endpoint, Job, JobSpec, PinnedInputs, Run
from generation.selectors import concepts
from generation.services import budget, runs
from generation.services.dispatch import claims
from generation.services.images import assets
from generation.services.planning import fingerprints
from generation.states import RUN

#: Jobs that a person requested go before those of a batch.
PRIORITY_STEP = 10


@dataclass(frozen=True)
class SpecChange:
    """A parent's frozen spec, and the changed spec made from it."""

    parent: JobSpec
    endpoint: Endpoint
    engine: Engine
    spec: dict[str, Any]
    maker: fingerprints.Maker
    fingerprint: str


def controls_of(version: AssetVersion) -> tuple[list[Control], dict[str, Any]]:
    """Return the controls that the version's engine obeys, and the value of each in this version."""
    parent = _find_parent_spec(version)
    engine = engines.build(parent.job.endpoint.engine, parent.job.endpoint.config)
    controls = list(engine.capabilities().controls)
    parameters = parent.spec.get("parameters", {})
    values = {
        control.parameter: parent.spec.get(control.parameter)
        if control.parameter in control_values.SPEC_FIELDS
        else parameters.get(control.parameter, control.default)
        for control in controls
    }
    return controls, values


def apply_controls(*, version: AssetVersion, controls: Mapping[str, Any]) -> SpecChange:
    """Return the changed spec. Raises Invalid if a control is unknown or out of its range, if the engine refuses the
    spec, or if it would give the same image again."""
    parent = _find_parent_spec(version)
    endpoint = parent.job.endpoint
    engine = engines.build(endpoint.engine, endpoint.config)
    capabilities = engine.capabilities()
    by_name = {control.parameter: control for control in capabilities.controls}
    spec = {**parent.spec, "parameters": dict(parent.spec.get("parameters", {}))}
    problems = [*_set_photo(spec, parent), *_set_controls(spec, controls, by_name, endpoint)]
    for use in concepts.supported_uses(capabilities):
        if use.parameter in controls and not problems:
            problems += _set_image(use, spec, parent.brand)
    if not problems:
        problems += [Problem("controls", sentence) for sentence in engine.validate(Spec.from_json(spec))]
    if problems:
        raise Invalid(_("The change cannot be made as it is."), problems)
    maker = fingerprints.get_maker(endpoint, engine)
    before, after = (
        fingerprints.fingerprint_spec(brand_id=parent.brand_id, maker=maker, engine=engine, spec=frozen_spec)
        for frozen_spec in (parent.spec, spec)
    )
    # Another model makes another image from the same controls.
    if before == after and fingerprints.Maker.from_json(parent.maker) in (None, maker):
        message = _("change at least one of: %(controls)s")
        message %= {"controls": ", ".join(by_name) or _("nothing, this engine has no controls")}
        raise Invalid(_("This would give the same image again."), [Problem("controls", message)])
    return SpecChange(parent, endpoint, engine, spec, maker, after)


def _set_controls(
    spec: dict[str, Any], controls: Mapping[str, Any], by_name: Mapping[str, Control], endpoint: Endpoint
) -> list[Problem]:
    """Set the controls in the spec; return the problems of those that are unknown or out of their range."""
    problems = []
    for name, value in controls.items():
        if name not in by_name:
            message = _("%(endpoint)s has: %(controls)s")
            message %= {"endpoint": endpoint.name, "controls": ", ".join(by_name) or _("no controls")}
            problems.append(Problem(f"controls/{name}", message, str(value)))
            continue
        try:
            (spec if name in control_values.SPEC_FIELDS else spec["parameters"])[name] = control_values.parse(
                by_name[name], value
            )
        except ValueError as error:
            problems.append(Problem(f"controls/{name}", str(error), str(value)))
    return problems


def _set_photo(spec: dict[str, Any], parent: JobSpec) -> list[Problem]:
    """Replace the photo and cut-out that the parent was planned with, where it uses them, by the current ones."""
    pinned = PinnedInputs.objects.filter(cell_id=parent.cell_id).first()
    if pinned is None or pinned.photo_pk is None:
        return []
    images = dict(spec.get("images", {}))
    used = [role for role, ref in images.items() if ref["sha256"] in (pinned.photo_sha256, pinned.cutout_sha256)]
    if not used:
        return []
    photo = ReferencePhoto.objects.filter(pk=pinned.photo_pk, status=PhotoStatus.READY).first()
    if photo is None:
        sentence = _("The product photo that this image was made from is gone. Reject it, and make what is missing.")
        return [Problem("controls", sentence)]
    cutout = photo.cutouts.filter(is_accepted=True).first()
    for role in used:
        file = photo if images[role]["sha256"] == pinned.photo_sha256 else cutout
        if file is None:
            sentence = _("The product’s photo has no accepted cut-out now. Accept one, then ask again.")
            return [Problem("controls", sentence)]
        images[role] = {"sha256": file.sha256, "key": file.storage_key}
    spec["images"] = images
    return []


def _set_image(use: concepts.ConceptUse, spec: dict[str, Any], brand: Brand) -> list[Problem]:
    """Set the current image of the concept that the parameter names, or remove it where it names none."""
    name = str(spec["parameters"].pop(use.parameter, "")).strip()
    spec["images"] = {role: ref for role, ref in spec.get("images", {}).items() if role != use.role}
    if concepts.is_none(name):
        return []
    image, problem = concepts.find_image(use, brand, name)
    if image is None:
        return [Problem(f"controls/{use.parameter}", problem, name)]
    spec["parameters"][use.parameter] = name
    spec["images"][use.role] = {"sha256": image.ref.sha256, "key": image.ref.key}
    return []


@transaction.atomic
def open_next_round(*, asset_id: int, controls: Mapping[str, Any], by: User, version_id: int | None = None) -> Job:
    """Queue one job for the asset's next round: a copy of the version's frozen spec with the controls changed, and with
    the product's photo as it is now.

    Without `version_id` it starts from the current version. The asset stays `revising`. The review app calls this after
    it has checked the permission. Raises Conflict, Invalid.
    """
    run = lock_run_of(asset_id)
    asset = assets.lock(asset_id)
    if asset.state != AssetState.REVISING:
        message = _("A next round needs an image that is being revised; this one is %(state)s.")
        raise Conflict(message % {"state": asset.state})
    rows = AssetVersion.objects.filter(asset=asset, pk=version_id or asset.current_version_id or 0)
    version = first_or_refuse(rows, _("There is no version to start the next round from."))
    change = apply_controls(version=version, controls=controls)
    priority = change.parent.job.priority + PRIORITY_STEP
    asset.round += 1
    Asset.objects.filter(pk=asset.pk).update(round=asset.round, changed_at=clock.now())
    job = add_job(asset, run, change, candidate=change.parent.candidate, priority=priority)
    payload = {"round": asset.round, "job": job.pk, "from_version": version.pk, "controls": dict(controls)}
    publish(events.RoundOpened.of(asset, **payload), by=by)
    announce(job)
    return job


def lock_run_of(asset_id: int) -> Run:
    """Return the asset's run, locked after its campaign. Always lock in this order, and before the asset."""
    run_id = Asset.objects.filter(pk=asset_id).values_list("cell__run_id", flat=True).first()
    if run_id is None:
        raise NotFound(_("There is no asset %(id)s.") % {"id": asset_id})
    return runs.lock(run_id)


def add_job(asset: Asset, run: Run, change: SpecChange, *, candidate: int, priority: int) -> Job:
    """Insert a job for the asset's round and reserve its money. A finished run is set to running again.

    Raises Conflict if the run was cancelled or the budget does not suffice.
    """
    if run.state == RunState.CANCELLED:
        raise Conflict(_("The run %(run)s was cancelled; plan a new one for this image.") % {"run": run.name})
    is_paused = run.state == RunState.PAUSED
    if run.state == RunState.FINISHED:
        RUN.ensure(run.state, RunState.RUNNING)
        Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING, finished_at=None)
    job = Job.objects.create(
        run=run,
        cell_id=asset.cell_id,
        campaign_id=asset.campaign_id,
        endpoint=change.endpoint,
        lane=change.endpoint.lane,
        batch_key=fingerprints.short_key(change.engine.batch_key(Spec.from_json(change.spec))),
        priority=priority,
        status=JobState.HELD if is_paused else JobState.QUEUED,
        hold_reason=HoldReason.PAUSED if is_paused else "",
    )
    JobSpec.objects.create(
        job=job,
        brand_id=asset.brand_id,
        cell_id=asset.cell_id,
        round=asset.round,
        candidate=candidate,
        fingerprint=change.fingerprint,
        maker=change.maker.to_json(),
        quoted_cost=change.parent.quoted_cost,
        spec=change.spec,
    )
    budget.reserve_for_run(run)
    return job


def announce(job: Job) -> None:
    """Let the campaign take part in the lane of a new job and wake its workers, unless the job is held."""
    if job.status == JobState.QUEUED:
        claims.activate(lane=job.lane, campaign_id=job.campaign_id)


def _find_parent_spec(version: AssetVersion) -> JobSpec:
    """Return the frozen spec that the version was made from; for a retouch that of the newest generated version."""
    specs = JobSpec.objects.select_related("job__endpoint")
    spec = specs.filter(job_id=version.job_id).first() if version.job_id else None
    if spec is None:
        of_cell = specs.filter(cell_id=version.asset.cell_id, round__lte=version.round, job__version__isnull=False)
        spec = of_cell.order_by("-round", "candidate").first()
    if spec is None:
        raise Invalid(
            _("No engine made this image, so no engine can change it; ask for a retouch instead."),
            [Problem("controls", _("this version has no generated parent"))],
        )
    return spec
