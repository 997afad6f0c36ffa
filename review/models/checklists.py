"""Checklists that reviewers confirm, and reasons to reject or to request changes."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand, User


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
