"""Prompt templates, their immutable numbered versions, style presets, and the studio of a brand."""

from __future__ import annotations

from django.db import models

from campaigns.choices import PromptStatus, SeedStrategy
from campaigns.models.subjects import Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand, User


class StylePreset(models.Model):
    """Reusable wording that a prompt version may append, such as "soft window light, shallow depth of field".

    A version copies the words when it is saved, so a change of the preset only affects new versions. A retired preset
    has `is_active` False.
    """

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="style_presets")
    slug = models.SlugField()
    name = models.CharField(max_length=80)
    text = models.TextField()
    negative = models.TextField(blank=True)
    is_active = models.BooleanField(default=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "slug"]
        constraints = [models.UniqueConstraint(fields=["brand", "slug"], name="style_slug_once")]

    def __str__(self) -> str:
        return self.name


class PromptTemplate(models.Model):
    """The identity of a prompt; its versions have the text."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="prompt_templates")
    slug = models.SlugField()
    name = models.CharField(max_length=120)
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "slug"]
        constraints = [models.UniqueConstraint(fields=["brand", "slug"], name="template_slug_once")]

    def __str__(self) -> str:
        return self.name


class PromptVersion(models.Model):
    """One numbered text. After a run was planned with it (`used_at`), a database trigger refuses changes of its words.

    axes: {"backdrop": ["white", "clay"]}; their combinations are the variants of each subject.
    parameters: engine parameters, {"steps": 30, "guidance": 6.5}, or packshot's {"backdrop": "{backdrop}",
    "fill": 0.8}.
    needs: its requirements for an endpoint, {"engine": "packshot"} or {"engine": "diffusers", "model": "sdxl"}.
    policy: the consequence of a failed check, {"on_fail": "flag" | "regenerate" | "reject", "max_regenerations": 2}.
    style_text, style_negative: the words of `style` as they were when this version was written.
    note: what changed since the previous version, and why. answer: the note of the lead who last sent it back.
    """

    template = models.ForeignKey(PromptTemplate, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    text = models.TextField()
    negative = models.TextField(blank=True)
    style = models.ForeignKey(StylePreset, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    style_text = models.TextField(blank=True)
    style_negative = models.TextField(blank=True)
    axes = models.JSONField(default=dict, blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    needs = models.JSONField(default=dict, blank=True)
    policy = models.JSONField(default=dict, blank=True)
    seed_strategy = models.CharField(max_length=12, choices=SeedStrategy.choices, default=SeedStrategy.PER_SUBJECT)
    seed = models.BigIntegerField(default=0)
    candidates = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=10, choices=PromptStatus.choices, default=PromptStatus.DRAFT)
    used_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=300, blank=True)
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    asked_at = models.DateTimeField(null=True, blank=True)
    answer = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("template__brand").as_manager()

    class Meta:
        ordering = ["template", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["template", "number"], name="prompt_number_once"),
            models.CheckConstraint(
                condition=models.Q(candidates__gte=1, candidates__lte=8), name="prompt_candidates_1_8"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.template} v{self.number}"


class Studio(models.Model):
    """A brand's studio: one subject for images without a product, and one prompt whose versions are the tried texts.

    Neither is in any list. services/prompts.py creates them once, when a person of the brand first uses the studio. The
    subject is retired from the start: only sandbox runs use it, and its photos are the reference images of people.
    """

    brand = models.OneToOneField(Brand, on_delete=models.PROTECT, related_name="studio")
    subject = models.OneToOneField(Subject, on_delete=models.PROTECT, related_name="studio")
    template = models.OneToOneField(PromptTemplate, on_delete=models.PROTECT, related_name="studio")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand"]

    def __str__(self) -> str:
        return f"studio of {self.brand}"
