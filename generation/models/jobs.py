"""Jobs and their frozen specs, attempts, the ledger, fair shares and workers: the tables that dispatch uses most."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from campaigns.models import Campaign
from core.access import BrandOwned
from core.choices import Lane
from core.clock import MomentField
from core.models import Brand
from generation.choices import AttemptOutcome, HoldReason, JobState, LedgerKind, MoveReason
from generation.engines.base import MAX_REMOTE_ID_LENGTH
from generation.models.endpoints import Endpoint
from generation.models.runs import Cell, Run

_CLAIM_ORDER = ("campaign_id", models.F("priority").desc(), "batch_key", "id")


class Job(models.Model):
    """One image to make, with only the columns that dispatch reads and writes. JobSpec has what decides the pixels.

    Inserted by planning in state `held` (reason "not released"), queued by release; claimed, finished and failed only
    through services/dispatch/claims.py, each write carrying `lease_token`.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="jobs")
    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="jobs", db_index=False)
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="+", db_index=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+", db_index=False)
    lane = models.CharField(max_length=12, choices=Lane.choices)
    batch_key = models.CharField(max_length=32, help_text=_("jobs with equal keys may share one engine call"))
    priority = models.SmallIntegerField(default=0)
    status = models.CharField(max_length=12, choices=JobState.choices, default=JobState.QUEUED)
    hold_reason = models.CharField(max_length=40, blank=True, choices=HoldReason.choices)
    not_before = models.DateTimeField(null=True, blank=True)
    poll_at = models.DateTimeField(null=True, blank=True)
    remote_id = models.CharField(max_length=MAX_REMOTE_ID_LENGTH, blank=True)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    is_cancel_requested = models.BooleanField(default=False)
    attempts = models.PositiveSmallIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(db_default=0, help_text=_("attempts since a person last queued it"))
    deaths = models.PositiveSmallIntegerField(
        default=0, help_text=_("workers that died holding it; three quarantine it")
    )
    error_kind = models.CharField(max_length=20, blank=True)
    error = models.CharField(max_length=500, blank=True)
    step = models.PositiveSmallIntegerField(default=0)
    steps = models.PositiveSmallIntegerField(default=0)

    objects = BrandOwned.through("campaign__brand").as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            # Claims: the first jobs of one campaign in one lane. Also EXISTS(queued) for fair share.
            models.Index("lane", *_CLAIM_ORDER, name="job_claim", condition=Q(status="queued")),
            # Claims for one remote endpoint, without the jobs of endpoints that are full.
            models.Index(
                "endpoint", *_CLAIM_ORDER, name="job_claim_remote", condition=Q(status="queued", lane="cloud")
            ),
            # The reaper: leases that ran out.
            models.Index(fields=["lease_expires_at"], name="job_lease", condition=Q(status="running")),
            # The poller of one endpoint.
            models.Index(fields=["endpoint", "poll_at"], name="job_poll", condition=Q(status="waiting")),
            # A run's funnel and its matrix.
            models.Index(fields=["run", "status"], name="job_run_status"),
            models.Index(fields=["cell"], name="job_cell"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="running") | Q(lease_token__isnull=False), name="job_running_has_lease"
            ),
        ]

    def __str__(self) -> str:
        return f"job {self.pk} {self.status}"


class JobSpec(models.Model):
    """Everything that decides the pixels of one job, frozen at planning.

    spec: the keyword arguments of engines.base.Spec as plain JSON. fingerprint: sha256 over brand, maker and spec,
    including the candidate number. maker: the engine at planning (fingerprints.Maker as JSON); {} for jobs
    from before this was recorded. If a service returns an image with another version of its model, fingerprint and
    maker change to that version.
    """

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="frozen")
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="+", db_index=False)
    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="+", db_index=False)
    round = models.PositiveSmallIntegerField(default=1)
    candidate = models.PositiveSmallIntegerField(default=1)
    fingerprint = models.CharField(max_length=64)
    quoted_cost = models.DecimalField(
        max_digits=10, decimal_places=6, default=0, help_text=_("what the budget reserves")
    )
    spec = models.JSONField()
    maker = models.JSONField(
        default=dict, db_default={}, help_text=_("engine, model, revision and tier it is planned for")
    )

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["job"]
        constraints = [models.UniqueConstraint(fields=["cell", "round", "candidate"], name="spec_candidate_once")]

    def __str__(self) -> str:
        return f"spec of job {self.job_id}"


class Attempt(models.Model):
    """One execution of a job on one worker: its outcome, machine and duration. Kept for ever.

    submitted_at, marker: time and marker of a submission to a remote service, committed before the call as the intent;
    empty again if it was refused. remote_id: its id at the service. answered_at: when it was known to be no longer open
    there.
    """

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="attempt_rows")
    number = models.PositiveSmallIntegerField()
    lease_token = models.UUIDField()
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+", db_index=False)
    worker = models.CharField(max_length=120)
    outcome = models.CharField(max_length=10, choices=AttemptOutcome.choices, default=AttemptOutcome.RUNNING)
    error_kind = models.CharField(max_length=20, blank=True)
    message = models.TextField(blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    marker = models.UUIDField(null=True, blank=True)
    remote_id = models.CharField(max_length=MAX_REMOTE_ID_LENGTH, blank=True, db_default="")
    details = models.JSONField(default=dict, help_text=_("model, revision, device, batch size, timings, engine log"))
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = BrandOwned.through("job__campaign__brand").as_manager()

    class Meta:
        ordering = ["job", "number"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="attempt_number_once")]
        indexes = [
            # Estimates: the latest images of one endpoint.
            models.Index(fields=["endpoint", "-id"], name="attempt_latest", condition=Q(outcome="succeeded")),
            # Webhooks find the attempt of a submission. Also the latest submissions to an endpoint, newest first.
            models.Index(fields=["marker"], name="attempt_marker", condition=Q(marker__isnull=False)),
            models.Index(
                fields=["endpoint", "-submitted_at"], name="attempt_submitted", condition=Q(submitted_at__isnull=False)
            ),
            # An endpoint's last day: rows are stored in the order of their start, so a small BRIN index suffices.
            BrinIndex(fields=["started_at"], name="attempt_started", pages_per_range=32, autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of job {self.job_id}"


class LedgerEntry(models.Model):
    """Money, append-only: reserved on release, settled per attempt, the rest released. In the brand's currency. An
    uncertain submission counts as spent until it is known that it was not charged."""

    id = models.BigAutoField(primary_key=True)
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="ledger")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="ledger")
    job = models.ForeignKey(Job, on_delete=models.PROTECT, null=True, related_name="+")
    kind = models.CharField(max_length=9, choices=LedgerKind.choices)
    amount = models.DecimalField(max_digits=12, decimal_places=6)
    at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("campaign__brand").as_manager()

    class Meta:
        ordering = ["id"]
        verbose_name_plural = _("ledger entries")
        constraints = [
            # A job is settled once, however often finish is called.
            models.UniqueConstraint(fields=["job"], condition=Q(kind="settle"), name="ledger_settle_once"),
        ]
        indexes = [
            # Money spent since a time, for the monthly budget of a brand.
            models.Index(fields=["at"], name="ledger_spent", condition=Q(kind__in=["settle", "uncertain"])),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


class JobMove(models.Model):
    """The move of a job to another endpoint, with its reason. Written by services/routing.py."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="moves")
    from_endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+", db_index=False)
    to_endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+", db_index=False)
    reason = models.CharField(max_length=10, choices=MoveReason.choices)
    sentence = models.CharField(max_length=300)
    at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("job__campaign__brand").as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"job {self.job_id}: {self.sentence}"


class LaneShare(models.Model):
    """Fair share: the time of a lane (in its own unit, GPU-seconds) that one campaign has used. The least is next."""

    lane = models.CharField(max_length=12, choices=Lane.choices)
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="+")
    virtual_time = models.FloatField(default=0)

    class Meta:
        ordering = ["lane", "virtual_time"]
        constraints = [models.UniqueConstraint(fields=["lane", "campaign"], name="share_once")]

    def __str__(self) -> str:
        return f"{self.lane} {self.campaign_id} {self.virtual_time:.1f}"


class Worker(models.Model):
    """A running worker process. Written by its heartbeat, removed by a periodic task a day after its last heartbeat."""

    name = models.CharField(max_length=120, unique=True)
    lanes = models.JSONField(default=list)
    host = models.CharField(max_length=120)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    peak_rss_bytes = models.BigIntegerField(default=0)
    device = models.CharField(max_length=120, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
