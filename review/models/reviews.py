"""Models of reviews: checklists, reasons, tasks and decisions."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand, User
from generation.choices import AssetState
from generation.models import Asset, AssetVersion, Run
from review.choices import (
    DecisionKind,
    TaskState,
)
from review.models.webhooks import WebhookAttempt, WebhookEndpoint, WebhookMessage  # noqa: F401


class Checklist(models.Model):
    """A review stage of a brand, such as "brand", and its checklist. Stages run in `position` order."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="checklists")
    stage = models.SlugField(default="brand")
    name = models.CharField(max_length=80)
    position = models.PositiveSmallIntegerField(default=1)
    slots = models.PositiveSmallIntegerField(default=1, help_text=_("approvals this stage needs"))
    due_hours = models.PositiveSmallIntegerField(default=24, help_text=_("hours a task of this stage may wait"))

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "position"]
        constraints = [
            models.UniqueConstraint(fields=["brand", "stage"], name="checklist_stage_once"),
            models.CheckConstraint(condition=models.Q(slots__gte=1), name="checklist_slots_positive"),
        ]

    def __str__(self) -> str:
        return self.name


class ChecklistVersion(models.Model):
    """One numbered version of a checklist. Immutable; every task is pinned to the version it was opened with.

    items: [{"code": "colour", "sentence": "The colour is the product's colour.", "mode": "ask" | "by_exception"}].
    """

    checklist = models.ForeignKey(Checklist, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    items = models.JSONField(default=list)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("checklist__brand").as_manager()

    class Meta:
        ordering = ["checklist", "-number"]
        constraints = [models.UniqueConstraint(fields=["checklist", "number"], name="checklist_number_once")]

    def __str__(self) -> str:
        return f"{self.checklist} v{self.number}"


class Reason(models.Model):
    """A reason to reject an image or request changes: a short list per brand, chosen by digit."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="reasons")
    code = models.SlugField()
    label = models.CharField(max_length=80)
    position = models.PositiveSmallIntegerField(default=1)
    is_active = models.BooleanField(default=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "position"]
        constraints = [models.UniqueConstraint(fields=["brand", "code"], name="reason_code_once")]

    def __str__(self) -> str:
        return self.label


#: The order in which tasks are shown and claimed: those that were skipped last, otherwise by due time.
TASK_ORDER = (
    F("skipped_at").asc(nulls_first=True),
    F("due_at").asc(nulls_last=True),
    F("run_id").asc(),
    F("product_key").asc(),
    F("id").asc(),
)


class ReviewTask(models.Model):
    """The review of one asset at one stage; at most one per asset and stage.

    The subscriber of `generation.version.ready` opens it. A claim is stored in two columns; it is not a state.
    run, product_key: those of its asset. deciders: the ids of the people who filled a slot, ascending; a trigger on
    the slots keeps them. Equal `deciders` are one group of the index, so a person's own groups are left out at once.
    """

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="+", db_index=False)
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="tasks", db_index=False)
    checklist_version = models.ForeignKey(ChecklistVersion, on_delete=models.PROTECT, related_name="+")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="+", db_index=False)
    product_key = models.CharField(max_length=255)
    stage = models.SlugField()
    deciders = ArrayField(models.BigIntegerField(), default=list, db_default=[], editable=False)
    state = models.CharField(max_length=16, choices=TaskState.choices, default=TaskState.OPEN)
    round = models.PositiveSmallIntegerField(default=1)
    has_problem = models.BooleanField(
        default=False, db_default=False, help_text=_("a check of its version found something")
    )
    claimed_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    claimed_until = models.DateTimeField(null=True, blank=True)
    skipped_at = models.DateTimeField(null=True, blank=True, help_text=_("last skip; sorts the task behind the others"))
    due_at = models.DateTimeField(null=True, blank=True)
    escalated_to = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text=_("the campaign manager who decides how to go on after the last round"),
    )
    opened_at = MomentField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["asset", "stage"], name="task_once_per_stage")]
        indexes = [
            # "Start reviewing": the next open tasks of a brand, in their order.
            models.Index("brand", "stage", "deciders", *TASK_ORDER, name="task_queue", condition=Q(state="open")),
            # The same of one run, of those with findings, and of those that were made again.
            models.Index(
                "brand", "stage", "deciders", "run", *TASK_ORDER, name="task_queue_of_run", condition=Q(state="open")
            ),
            models.Index(
                "brand",
                "stage",
                "deciders",
                *TASK_ORDER,
                name="task_queue_problems",
                condition=Q(state="open", has_problem=True),
            ),
            models.Index(
                "brand",
                "stage",
                "deciders",
                *TASK_ORDER,
                name="task_queue_again",
                condition=Q(state="open", round__gt=1),
            ),
            # Counts of this hour's overdue tasks and of live claims, and since when the oldest task waits.
            models.Index(fields=["brand", "due_at"], name="task_due", condition=Q(state="open")),
            models.Index(
                fields=["brand", "claimed_until"],
                name="task_claimed",
                condition=Q(state="open", claimed_until__isnull=False),
            ),
            models.Index(fields=["brand", "opened_at"], name="task_opened", condition=Q(state="open")),
            # Each person's claims, and the images that wait for a campaign manager.
            models.Index(
                fields=["claimed_by", "claimed_until"], name="task_claims", condition=Q(claimed_by__isnull=False)
            ),
            models.Index(
                fields=["escalated_to", "brand", "id"], name="task_escalated", condition=Q(escalated_to__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"review of asset {self.asset_id} ({self.stage})"


class Decisions(BrandOwned):
    """A queryset of decisions that knows which of them still count."""

    brand_path = "task__brand"

    def not_undone(self) -> Decisions:
        """Return what people decided, without undos and what they undid. An approval that was revoked is included."""
        return self.filter(voids=None).exclude(voided_by__kind=DecisionKind.UNDONE)

    def standing(self) -> Decisions:
        """Return the decisions that nobody has undone or revoked."""
        return self.filter(voids=None, voided_by=None)

    def valid_approvals(self) -> Decisions:
        """Return the approvals that make an asset published, also while it is stale: each fills a slot, or its asset
        is published until the next decision."""
        is_published = Q(task__asset__state=AssetState.STALE, task__asset__staleness__is_published=True)
        return self.standing().filter(Q(slot__isnull=False) | is_published, kind=DecisionKind.APPROVED)


class Decision(models.Model):
    """One person's decision about one version, pinned to what was on screen. Immutable; another decision can undo it.

    pinned: {"master": sha256, "recipe": n, "renditions": {spec slug: sha256}, "checklist": version id}.
    answers: {"item code": "yes" | "no" | "n/a" | "confirmed on approve"}.
    effective_at: when consequences (next round, deliveries, pull API) begin: 30 s later, so that undo is free.
    """

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(ReviewTask, on_delete=models.PROTECT, related_name="decisions")
    version = models.ForeignKey(AssetVersion, on_delete=models.PROTECT, related_name="decisions")
    kind = models.CharField(max_length=14, choices=DecisionKind.choices)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="decisions")
    decided_at = models.DateTimeField()
    effective_at = models.DateTimeField()
    consequences_at = models.DateTimeField(null=True, blank=True, help_text=_("when housekeeping carried them out"))
    reason = models.ForeignKey(Reason, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    note = models.TextField(blank=True)
    answers = models.JSONField(default=dict)
    controls = models.JSONField(
        default=dict, help_text=_("needs revision: what to change, in the engine's own controls")
    )
    pinned = models.JSONField(default=dict)
    voids = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="voided_by",
        help_text=_("the decision that this one takes back"),
    )

    objects = Decisions.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            # Housekeeping: decisions whose consequences are due.
            models.Index(fields=["effective_at"], name="decision_due", condition=Q(consequences_at__isnull=True)),
            # "My last decisions".
            models.Index(fields=["decided_by", "-id"], name="decision_mine"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.decided_by_id}"


class DecisionSlot(models.Model):
    """One approval that a stage needs, filled by compare-and-set. A rejection fills one too, and closes the task."""

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(ReviewTask, on_delete=models.CASCADE, related_name="slots", db_index=False)
    slot = models.PositiveSmallIntegerField()
    decision = models.OneToOneField(Decision, on_delete=models.PROTECT, null=True, blank=True, related_name="slot")

    objects = BrandOwned.through("task__brand").as_manager()

    class Meta:
        ordering = ["task", "slot"]
        constraints = [models.UniqueConstraint(fields=["task", "slot"], name="decision_slot_once")]

    def __str__(self) -> str:
        return f"slot {self.slot} of task {self.task_id}"
