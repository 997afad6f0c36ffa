"""Read scheduled runs: the subjects that they would make, their work of today and of late, and subjects not ready."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.choices import ImportStatus, PromptStatus, SourceKind
from campaigns.models import Campaign, FeedSource, ImportChange, PromptVersion, Subject
from campaigns.selectors import readiness
from core import clock, sql
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.choices import AssetState
from generation.models import Asset, Run, ScheduledRun
from generation.selectors import endpoints

RECENT_DAYS = 7
NOT_READY_SHOWN = 50
CONSIDERED = 2000
"""Most changed subjects that are checked at once, the oldest first."""

# A digest of everything that decides a subject's images. Photos count only where the engine takes images. By hand: it
# is compared with stored digests, so its text must stay the same to the byte, and the ORM writes jsonb and joins
# otherwise.
_SIGNED = """
    SELECT s.id,
           md5(concat_ws(chr(31), s.name, s.attributes::text, CASE WHEN %(images)s THEN images.shown END)) AS digest
    FROM campaigns_campaign_subjects m
    JOIN campaigns_subject s ON s.id = m.subject_id
    LEFT JOIN LATERAL (
        SELECT string_agg(concat_ws(':', p.role, p.sha256, c.sha256), ',' ORDER BY p.role, p.sha256) AS shown
        FROM campaigns_referencephoto p
        LEFT JOIN campaigns_cutout c ON c.photo_id = p.id AND c.is_accepted
        WHERE p.subject_id = s.id AND p.status = 'ready'
    ) AS images ON true
    WHERE m.campaign_id = %(campaign)s AND s.is_active
"""

_CHANGED = f"""
    SELECT signed.id, signed.digest FROM ({_SIGNED}) AS signed
    WHERE NOT EXISTS (
        SELECT 1 FROM generation_scheduledsubject t
        WHERE t.scheduled_run_id = %(scheduled_run)s AND t.subject_id = signed.id AND t.digest = signed.digest
    )
    ORDER BY signed.id LIMIT %(limit)s
"""  # noqa: S608 (our own text only)


@dataclass(frozen=True)
class Today:
    """The images that a scheduled run has made today, and what is left of its daily limits."""

    images: int
    cost: Decimal
    images_left: int
    budget_left: Decimal


def digests(scheduled_run: ScheduledRun, *, with_images: bool) -> dict[int, str]:
    """Return the digest of every active subject of the campaign, by subject id."""
    return dict(sql.rows(_SIGNED, {"campaign": scheduled_run.campaign_id, "images": with_images}))


def find_changed_subjects(scheduled_run: ScheduledRun, *, with_images: bool, limit: int = CONSIDERED) -> dict[int, str]:
    """Return, by subject id, the digests of subjects that are new or changed since they were last made. One query."""
    values = {"campaign": scheduled_run.campaign_id, "scheduled_run": scheduled_run.pk}
    return dict(sql.rows(_CHANGED, {**values, "images": with_images, "limit": limit}))


def new_from_source(scheduled_run: ScheduledRun) -> list[int]:
    """Return active subjects that were imported from the source since the scheduled run exists and are not in the
    campaign. A subject that was taken up before and then removed from the campaign stays out."""
    if scheduled_run.source_id is None:
        return []
    imported = ImportChange.objects.filter(
        feed_import__source=scheduled_run.source_id, feed_import__status=ImportStatus.APPLIED, was__isnull=True
    )
    fresh = Subject.objects.filter(
        brand_id=scheduled_run.campaign.brand_id, is_active=True, created_at__gte=scheduled_run.created_at
    )
    fresh = fresh.filter(pk__in=imported.values("subject_id")).exclude(campaigns=scheduled_run.campaign_id)
    fresh = fresh.exclude(pk__in=scheduled_run.taken.values("subject_id"))
    return list(fresh.order_by("pk").values_list("pk", flat=True))


def load_today(scheduled_run: ScheduledRun) -> Today:
    """Return what was made today and what is left. The day begins at the site's local midnight. The quoted cost of a
    run counts, whether its images have been made yet or not."""
    midnight = timezone.localtime(clock.now()).replace(hour=0, minute=0, second=0, microsecond=0)
    runs = Run.objects.filter(scheduled_run=scheduled_run, created_at__gte=midnight)
    sums = runs.aggregate(images=Sum("job_count", default=0), cost=Sum("quoted_cost", default=Decimal(0)))
    images_left = max(0, scheduled_run.daily_images - sums["images"])
    return Today(
        **sums, images_left=images_left, budget_left=max(Decimal(0), scheduled_run.daily_budget - sums["cost"])
    )


def find_unready_subjects(ids: Collection[int], scheduled_run: ScheduledRun, images: Collection[str]) -> dict[int, str]:
    """Return, by subject id, why the photos do not suffice; ready subjects are left out. Two queries."""
    fill = readiness.get_fill(scheduled_run.campaign.brand)
    specs = list(scheduled_run.campaign.output_specs.all())
    return {
        pk: judgement.findings[0] if judgement.findings else judgement.word
        for pk, judgement in readiness.assess(ids, specs=specs, images_needed=images, fill=fill).items()
        if not judgement.is_ready
    }


def list_scheduled_runs(campaign: Campaign, user: User) -> QuerySet[ScheduledRun]:
    """Return the campaign's scheduled runs that `user` may see, enabled ones first."""
    rows: QuerySet[ScheduledRun] = ScheduledRun.objects.visible_to(user).filter(campaign=campaign)
    rows = rows.select_related("campaign__brand", "source", "prompt_version__template__brand", "endpoint", "created_by")
    return rows.order_by("-is_enabled", "pk")


def get(campaign: Campaign, user: User, scheduled_run_id: int) -> ScheduledRun:
    """Return a scheduled run of the campaign. Raises NotFound."""
    sentence = _("There is no scheduled run %(id)s in %(campaign)s.")
    rows = list_scheduled_runs(campaign, user).filter(pk=scheduled_run_id)
    return first_or_refuse(rows, sentence % {"id": scheduled_run_id, "campaign": campaign.name})


def load_details(scheduled_run: ScheduledRun, user: User, unready: Mapping[int, str]) -> dict[str, Any]:
    """Return a scheduled run with its work of today and of the last days, its approved images, and the first
    unready subjects. unready: subject id -> why no image of it can be made yet."""
    since = clock.now() - timedelta(days=RECENT_DAYS)
    runs = Run.objects.visible_to(user).filter(scheduled_run=scheduled_run, created_at__gte=since).order_by("-pk")
    is_in_review = Q(cells__asset__state__in=(AssetState.IN_REVIEW, AssetState.STALE))
    is_approved = Q(cells__asset__state=AssetState.APPROVED)
    recent = runs.annotate(
        in_review=Count("cells__asset", filter=is_in_review, distinct=True),
        approved_count=Count("cells__asset", filter=is_approved, distinct=True),
    )
    subjects = Subject.objects.visible_to(user).in_bulk(list(unready)[:NOT_READY_SHOWN])
    return {
        "scheduled_run": scheduled_run,
        "today": load_today(scheduled_run),
        "recent": list(recent[:30]),
        "approved": Asset.objects.filter(cell__run__scheduled_run=scheduled_run, state=AssetState.APPROVED).count(),
        "not_ready": [(subjects[pk], reason) for pk, reason in unready.items() if pk in subjects],
    }


def choices(user: User, brand: Brand) -> dict[str, QuerySet[Any]]:
    """Return the choices for a scheduled run: approved prompt versions, endpoints and feed sources."""
    versions = PromptVersion.objects.visible_to(user).filter(template__brand=brand, status=PromptStatus.APPROVED)
    sources = FeedSource.objects.visible_to(user).filter(brand=brand).exclude(kind=SourceKind.UPLOAD)
    return {
        "prompt_version": versions.select_related("template").order_by("template__name", "-number"),
        "endpoint": endpoints.list_usable(brand),
        "source": sources.order_by("name"),
    }
