"""Rows for tests of dispatch: campaigns with queued jobs, inserted in bulk without planning."""

from __future__ import annotations

import hashlib
from itertools import count

from django.utils import timezone

from campaigns.models import Campaign, OutputSpec, PromptTemplate, PromptVersion, Subject
from core.choices import Lane
from core.models import Brand, User
from generation.choices import JobState, RunState, Stage
from generation.engines.base import Spec
from generation.models import Asset, Cell, Endpoint, Job, JobSpec, LaneShare, Run
from generation.services.dispatch import claims

_numbers = count(1)


def create_campaign(*, brand: Brand | None = None, owner: User | None = None) -> Campaign:
    """Create a campaign with one 1:1 output spec."""
    number = next(_numbers)
    brand = brand or Brand.objects.create(slug=f"brand-{number}", name=f"Brand {number}")
    owner = owner or User.objects.create_user(f"owner-{number}", password="x")
    made = Campaign.objects.create(brand=brand, slug=f"campaign-{number}", name=f"Campaign {number}", owner=owner)
    OutputSpec.objects.create(campaign=made, slug="shop", width=128, height=128)
    return made


def create_endpoint(*, engine: str = "ready", batch_size: int = 4, lane: str = Lane.CPU, **config) -> Endpoint:
    number = next(_numbers)
    return Endpoint.objects.create(
        slug=f"endpoint-{number}",
        name=f"Endpoint {number}",
        engine=engine,
        lane=lane,
        batch_size=batch_size,
        config=config,
    )


def create_run(
    campaign: Campaign,
    endpoint: Endpoint,
    jobs: int,
    *,
    size: int = 64,
    batch_keys: int = 1,
    priority: int = 0,
    prompts: list[str] | None = None,
) -> Run:
    """Create a running run of `jobs` cells with one queued job each, of `batch_keys` different batch keys."""
    number = next(_numbers)
    template = PromptTemplate.objects.create(brand=campaign.brand, slug=f"t-{number}", name="Template")
    version = PromptVersion.objects.create(
        template=template, number=1, text="x", created_by=campaign.owner, needs={"engine": endpoint.engine}
    )
    made = Run.objects.create(
        campaign=campaign,
        prompt_version=version,
        endpoint=endpoint,
        name=f"Run {number}",
        stage=Stage.PARTIAL,
        state=RunState.RUNNING,
        requested_by=campaign.owner,
        released_at=timezone.now(),
        cell_count=jobs,
        job_count=jobs,
    )
    subjects = Subject.objects.bulk_create(
        Subject(brand=campaign.brand, key=f"S{number}-{n}", name=f"Subject {n}") for n in range(jobs)
    )
    cells = Cell.objects.bulk_create(
        Cell(run=made, subject=subject, aspect="1:1", position=n) for n, subject in enumerate(subjects)
    )
    Asset.objects.bulk_create(
        Asset(brand=campaign.brand, campaign=campaign, subject=cell.subject, cell=cell) for cell in cells
    )
    rows = Job.objects.bulk_create(
        Job(
            run=made,
            cell=cell,
            campaign=campaign,
            endpoint=endpoint,
            lane=endpoint.lane,
            priority=priority,
            batch_key=f"k{n % batch_keys}",
            status=JobState.QUEUED,
        )
        for n, cell in enumerate(cells)
    )
    JobSpec.objects.bulk_create(_frozen(job, n, size, number, prompts) for n, job in enumerate(rows))
    claims.activate(lane=endpoint.lane, campaign_id=campaign.pk)
    return made


def _frozen(job: Job, n: int, size: int, number: int, prompts: list[str] | None) -> JobSpec:
    spec = Spec(
        prompt=prompts[n % len(prompts)] if prompts else f"image {n}", width=size, height=size, seed=number * 1000 + n
    )
    return JobSpec(
        job=job,
        brand_id=job.campaign.brand_id,
        cell_id=job.cell_id,
        spec=spec.to_json(),
        fingerprint=hashlib.sha256(f"{number}/{n}".encode()).hexdigest(),
    )


def virtual_time(lane: str, campaign: Campaign) -> float:
    return LaneShare.objects.get(lane=lane, campaign=campaign).virtual_time
