"""Subscribers of this app: notices about runs and budgets, checks for stale approvals, and further tries."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns import events as campaign_events
from campaigns.models import Campaign, ImportChange, ReferencePhoto, Subject
from core.choices import Role
from core.events import DomainEvent, current_actor, subscribe, subscribe_to_all
from core.models import User
from core.services import notices
from generation.choices import Stage
from generation.events import BudgetReached, ChecksFailed, RunFinished, RunPaused, RunReleaseRefused
from generation.models import Run
from generation.selectors import inputs
from generation.services.images import regenerations, staleness

#: No notice about a shorter try-out, because its designer is still looking at it.
MIN_NOTIFIED_DURATION = timedelta(minutes=2)


@subscribe(ChecksFailed)
def regenerate_after_failed_checks(event: ChecksFailed) -> None:
    """Make an image again with another seed, after commit: this locks campaign and run, and the sender of the event
    holds a lock on the asset. A periodic task repeats it if the process is killed."""
    transaction.on_commit(lambda: regenerations.regenerate(event.object_id))


@subscribe(campaign_events.FeedImported)
@subscribe(campaign_events.FeedUndone)
def mark_stale_after_import(event: DomainEvent) -> None:
    """Make approvals stale that rest on a value that an import, or undoing it, changed."""
    changes = ImportChange.objects.filter(feed_import=event.object_id).order_by()
    staleness.check_subjects(subjects=changes.values("subject"), by=current_actor())


@subscribe(campaign_events.SubjectChanged)
def mark_stale_after_subject_change(event: DomainEvent) -> None:
    changed = Subject.objects.filter(pk=event.object_id).order_by()
    staleness.check_subjects(subjects=changed.values("pk"), by=current_actor())


@subscribe(campaign_events.PhotosAttached)
def mark_stale_after_photo_upload(event: DomainEvent) -> None:
    if subject_ids := {photo["subject"] for photo in event.payload["photos"]}:
        changed = Subject.objects.filter(pk__in=subject_ids).order_by()
        staleness.check_subjects(subjects=changed.values("pk"), by=current_actor())


@subscribe_to_all(campaign_events.PhotoRemoved)
@subscribe_to_all(campaign_events.PhotoRestored)
@subscribe_to_all(campaign_events.CutoutAccepted)
@subscribe_to_all(campaign_events.CutoutRefused)
def mark_stale_after_photo_changes(events: list[DomainEvent]) -> None:
    """Look once for a whole sheet of cut-outs, which people accept together."""
    photos = ReferencePhoto.objects.filter(pk__in=[event.object_id for event in events]).order_by()
    staleness.check_subjects(subjects=photos.values("subject").distinct(), by=current_actor())


@subscribe(campaign_events.GuidePublished)
def mark_stale_after_guide_publication(event: DomainEvent) -> None:
    """Make approvals stale if the guide's author asks for it; otherwise the guide counts for new images only."""
    if event.payload.get("look_again"):
        cause = {"kind": inputs.GUIDE, "number": event.payload["number"], "name": ""}
        staleness.check_brand(brand_id=event.brand_id, cause=cause, by=current_actor())


@subscribe(RunFinished)
def notify_run_finished(event: RunFinished) -> None:
    """Tell the requester and the campaign's owner; for a try-out only the requester, and only if it took long."""
    run = _load_run(event)
    made, failed = event.payload["succeeded"], event.payload["failed"]
    sentence = ngettext("%(run)s is finished: %(made)d image made.", "%(run)s is finished: %(made)d images made.", made)
    if failed:
        sentence = ngettext(
            "%(run)s is finished: %(made)d image made, %(failed)d could not be made.",
            "%(run)s is finished: %(made)d images made, %(failed)d could not be made.",
            made,
        )
    sentence %= {"run": run.name, "made": made, "failed": failed}
    concerned: list[User | None] = [run.requested_by, run.campaign.owner]
    if run.stage == Stage.SANDBOX:
        started, ended = run.released_at, run.finished_at
        if started is None or ended is None or ended - started < MIN_NOTIFIED_DURATION:
            return
        concerned = [run.requested_by]
    elif made:
        concerned.append(run.campaign.review_owner)
    _notify(run, concerned, "run_finished", sentence, "?only=problems" if failed and not made else "")


@subscribe(RunPaused)
def notify_run_paused(event: RunPaused) -> None:
    """Tell the requester, the campaign's owner and the owner of its review: images or rejections can pause a run."""
    run = _load_run(event)
    actor = current_actor()
    who = _("%(person)s paused %(run)s.") if actor else _("%(run)s paused itself.")
    who %= {"person": actor.display_name if actor else "", "run": run.name}
    concerned = [run.requested_by, run.campaign.owner, run.campaign.review_owner]
    _notify(run, concerned, "run_paused", f"{who} {event.payload['reason']}")


@subscribe(RunReleaseRefused)
def notify_release_refused(event: RunReleaseRefused) -> None:
    run = _load_run(event)
    sentence = _("%(run)s was to begin and could not: %(message)s")
    sentence %= {"run": run.name, "message": event.payload["message"]}
    _notify(run, [run.requested_by, run.campaign.owner], "release_refused", sentence)


@subscribe(BudgetReached)
def notify_budget_reached(event: BudgetReached) -> None:
    """Tell the campaign's owner and the leads that a budget mark was reached, also the person who released the run."""
    campaign = Campaign.objects.select_related("brand", "owner").get(pk=event.object_id)
    percent = event.payload["percent"]
    sentence = _(
        "The budget of %(campaign)s is %(percent)s %% used: %(committed)s of %(budget)s %(currency)s are committed."
    )
    if percent == 100:
        sentence = _("The budget of %(campaign)s is used up: %(committed)s of %(budget)s %(currency)s are committed.")
    money = {name: f"{Decimal(event.payload[name]):.2f}" for name in ("committed", "budget")}
    sentence %= {"campaign": campaign.name, "percent": percent, "currency": campaign.brand.currency, **money}
    notices.notify(
        brand=campaign.brand,
        users=[campaign.owner, *notices.list_people_with_roles(campaign.brand, Role.LEAD)],
        kind=f"budget_{percent}",
        sentence=sentence,
        href=reverse("campaign", args=[campaign.brand.slug, campaign.slug]),
    )


def _load_run(event: DomainEvent) -> Run:
    rows = Run.objects.select_related("campaign__brand", "campaign__owner", "campaign__review_owner", "requested_by")
    return rows.get(pk=event.object_id)


def _notify(run: Run, users: list[User | None], kind: str, sentence: str, query: str = "") -> None:
    brand = run.campaign.brand
    others = [user for user in users if user != current_actor()]
    href = reverse("run", args=[brand.slug, run.pk]) + query
    notices.notify(brand=brand, users=others, kind=kind, sentence=sentence, href=href)
