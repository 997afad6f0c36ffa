"""Subjects of images, their variants, product photos and cut-outs."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.utils.translation import gettext_lazy as _

from campaigns.choices import CutoutMethod, PhotoRole, PhotoStatus, SubjectKind
from core.access import BrandOwned
from core.clock import MomentField
from core.fetching import redact_address
from core.models import Brand, LeasedRow, User

#: Each word of key and name and each of its ends, as selectors/search.py looks for them.
SEARCH_WORDS = models.Func("brand", "key", "name", function="proofline_search_words", output_field=SearchVectorField())


class Subject(models.Model):
    """The subject of an image. `key` is the SKU or, if a shop has none, the product handle; unique per brand and kind.

    Written by the feed merge, by forms and by the API. Never deleted while a cell refers to it; a retired subject has
    `is_active` False. attributes: the strings for placeholders, {"colour": "sage", "material": "stoneware"}.
    """

    # subject_key_once begins with the brand; a separate index would only slow down the feed merge.
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="subjects", db_index=False)
    kind = models.CharField(max_length=10, choices=SubjectKind.choices, default=SubjectKind.PRODUCT)
    key = models.CharField(max_length=255)
    name = models.CharField(max_length=300)
    attributes = models.JSONField(default=dict, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = MomentField(auto_now_add=True)
    updated_at = MomentField(auto_now=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "key"]
        indexes = [
            # Words of a search: see selectors/search.py.
            GinIndex(
                models.Func(
                    "brand", "key", "name", function="proofline_search_words", output_field=SearchVectorField()
                ),
                name="subject_search",
            ),
        ]
        constraints = [
            # The merge's ON CONFLICT target, and the look-up of products/{sku}.
            models.UniqueConstraint(fields=["brand", "kind", "key"], name="subject_key_once"),
            models.CheckConstraint(condition=~models.Q(key=""), name="subject_key_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.key} {self.name}"


class Variant(models.Model):
    """One sellable variant of a product, written by the feed merge. `key` is its SKU or handle plus option values."""

    # variant_key_once begins with the subject.
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="variants", db_index=False)
    key = models.CharField(max_length=255)
    options = models.JSONField(default=dict, blank=True)  # {"Size": "M", "Colour": "Blue"}
    attributes = models.JSONField(default=dict, blank=True)
    position = models.PositiveIntegerField(default=0)

    objects = BrandOwned.through("subject__brand").as_manager()

    class Meta:
        ordering = ["subject", "position", "key"]
        constraints = [models.UniqueConstraint(fields=["subject", "key"], name="variant_key_once")]

    def __str__(self) -> str:
        return self.key


class ReferencePhoto(LeasedRow):
    """One photo of a subject, from a feed or a person.

    It is pending until its file is stored; `source` is the file name or URL of the feed. A pending one with a URL is
    leased work for the photo loader. The stored file is content-addressed (`sha256`), upright, without GPS position
    (`notes` says what was removed).
    """

    # photo_source_once begins with the subject.
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="photos", db_index=False)
    role = models.CharField(max_length=10, choices=PhotoRole.choices, default=PhotoRole.FRONT)
    position = models.PositiveIntegerField(default=1)
    source = models.CharField(max_length=2000)
    alt_text = models.CharField(max_length=600, blank=True)
    rights_end_on = models.DateField(
        null=True, blank=True, help_text=_("the last day on which images made from it may be published")
    )
    status = models.CharField(max_length=10, choices=PhotoStatus.choices, default=PhotoStatus.PENDING)
    notes = models.JSONField(default=list, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    storage_key = models.CharField(max_length=200, blank=True)
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("subject__brand").as_manager()

    class Meta:
        ordering = ["subject", "position", "id"]
        constraints = [
            # The merge's ON CONFLICT target: a second import of the same feed adds no photo.
            models.UniqueConstraint(fields=["subject", "source"], name="photo_source_once"),
        ]
        indexes = [
            # To find products with the same file.
            models.Index(fields=["sha256"], name="photo_sha256", condition=~models.Q(sha256="")),
            # The next photo to fetch from its address.
            models.Index(fields=["due_at", "id"], name="photo_to_fetch", condition=models.Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.role} photo of {self.subject_id}"

    @property
    def has_address(self) -> bool:
        """True if it can be fetched from its source."""
        return self.source.lower().startswith(("http://", "https://"))

    @property
    def redacted_source(self) -> str:
        """Return the file name or address as people may see it, because a query may contain a key."""
        return redact_address(self.source)


class Cutout(models.Model):
    """The cut-out of a product: an RGBA PNG as large as its photo. Made at import or by hand.

    Runs use the accepted cut-out; a photo has at most one.

    accepted_by: the person who accepted it; None if its confidence was enough. algorithm: number of the algorithm that
    computed it, see photos/cutout.py; 0 if a person made it or it is older. note: why a person should look at it, or
    empty.
    """

    photo = models.ForeignKey(ReferencePhoto, on_delete=models.CASCADE, related_name="cutouts")
    method = models.CharField(max_length=10, choices=CutoutMethod.choices)
    is_accepted = models.BooleanField(default=True)
    confidence = models.FloatField(default=1.0)
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    box = models.JSONField(help_text=_("[left, top, right, bottom] of the product in pixels of the photo"))
    algorithm = models.PositiveSmallIntegerField(default=0)
    note = models.CharField(max_length=300, blank=True, default="")
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    accepted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("photo__subject__brand").as_manager()

    class Meta:
        ordering = ["photo", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["photo"], condition=models.Q(is_accepted=True), name="cutout_one_accepted_per_photo"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} cut-out of photo {self.photo_id}"
