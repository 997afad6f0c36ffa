"""Feed sources and imports of product feeds, with staged rows, changes and issues."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.choices import ImportStatus, SourceKind, SubjectKind
from campaigns.models.subjects import Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.fetching import redact_address
from core.models import Brand, LeasedRow, User

FETCH_LEASE = timedelta(minutes=45)  # the longest time for one fetch of a feed; the largest takes less


class FeedSource(LeasedRow):
    """A source of a brand's feeds, with the meaning of their columns.

    A source of kind upload is created when a person first saves a mapping; it is found again by `header_sha256` (of the
    normalised headings). One of kind url is leased work: it is fetched every `every_minutes`. One of kind push gets its
    rows by API.
    failures: also those of files that came and had mistakes; `attempts` counts none of these.
    mapping: heading as written -> field name ("key", "name", "photo", "attribute:colour", "ignore", …).
    """

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="feed_sources")
    slug = models.SlugField()
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=10, choices=SourceKind.choices)
    subject_kind = models.CharField(max_length=10, choices=SubjectKind.choices, default=SubjectKind.PRODUCT)
    url = models.CharField(max_length=2000, blank=True)
    mapping = models.JSONField(default=dict, blank=True)
    header_sha256 = models.CharField(max_length=64, blank=True)
    every_minutes = models.PositiveIntegerField(default=1440)
    is_enabled = models.BooleanField(default=True)
    fetched_at = models.DateTimeField(null=True, blank=True)
    etag = models.CharField(max_length=300, blank=True)
    last_modified = models.CharField(max_length=100, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text=_("in a row"))
    error = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "slug"]
        constraints = [
            models.UniqueConstraint(fields=["brand", "slug"], name="source_slug_once"),
            models.CheckConstraint(condition=~models.Q(kind="url", url=""), name="source_url_given"),
        ]
        indexes = [
            # The next source to fetch.
            models.Index(fields=["due_at", "id"], name="source_due", condition=models.Q(kind="url", is_enabled=True)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def fetching_since(self) -> datetime | None:
        """Return when the fetch that is running began, or None."""
        return self.due_at - FETCH_LEASE if self.is_leased and self.due_at else None

    @property
    def redacted_url(self) -> str:
        """Return the address as people may see it, because its query may contain a key."""
        return redact_address(self.url)


class FeedImport(LeasedRow):
    """One file for a brand: it is checked, then applied in full or refused in full; an applied one can be undone.

    mapping: heading -> field, as people chose. fixes: [{"cause", "fix", "columns", "changed"}] that people applied to
    all rows, in that order. The file is kept under `storage_key` for some weeks. A waiting import is leased work;
    `rows` and `bytes_read` show how far it has been read.
    undone_counts: {"removed", "restored", "kept", "retired"} subjects.
    """

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="imports")
    file_name = models.CharField(max_length=300)
    file_sha256 = models.CharField(max_length=64)
    file_bytes = models.BigIntegerField()
    dialect = models.JSONField(default=dict, help_text=_("what was detected: format, encoding, delimiter, columns"))
    status = models.CharField(max_length=10, choices=ImportStatus.choices)
    rows = models.PositiveIntegerField(default=0)
    created = models.PositiveIntegerField(default=0)
    updated = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    error_count = models.PositiveIntegerField(default=0)
    issue_counts = models.JSONField(default=dict, help_text=_("cause -> how many, all counted, also those not stored"))
    source = models.ForeignKey(FeedSource, on_delete=models.PROTECT, null=True, blank=True, related_name="imports")
    subject_kind = models.CharField(max_length=10, choices=SubjectKind.choices, default=SubjectKind.PRODUCT)
    mapping = models.JSONField(default=dict, blank=True)
    encoding = models.CharField(
        max_length=20, blank=True, default="", help_text=_("what people chose for a text that is not UTF-8")
    )
    fixes = models.JSONField(default=list, blank=True)
    storage_key = models.CharField(max_length=200, blank=True)
    is_to_apply = models.BooleanField(
        default=False, help_text=_("waiting: to be applied if it is right, not only checked")
    )
    bytes_read = models.BigIntegerField(default=0)
    reading_since = models.DateTimeField(null=True, blank=True)
    undone_counts = models.JSONField(default=dict, blank=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # The next import to read.
            models.Index(fields=["due_at", "id"], name="import_waiting", condition=models.Q(due_at__isnull=False)),
            # For the sweeper: does an import use this file?
            models.Index(fields=["storage_key"], name="import_file", condition=~models.Q(storage_key="")),
        ]

    def __str__(self) -> str:
        return f"import {self.pk} of {self.file_name}"


class ImportChange(models.Model):
    """The change that an import made to one subject, so that it can be undone. Inserted by SQL in the merge.

    was: null for a new subject, else the previous values of the changed parts: {"name", "attributes", "is_active",
    "variants": [{"key", "was"}], "photos": [{"source", "was"}]}; an inner "was" is null for a new variant or photo.
    subject_updated_at: the subject's `updated_at` after the import; another value shows a later change.
    """

    id = models.BigAutoField(primary_key=True)
    # Without constraints: the merge has just written both rows, and checking a million of them would double its time.
    # Only the undo deletes subjects, and it deletes these rows first.
    feed_import = models.ForeignKey(
        FeedImport, on_delete=models.CASCADE, related_name="changes", db_constraint=False, db_index=False
    )
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    was = models.JSONField(null=True)
    subject_updated_at = models.DateTimeField()

    objects = BrandOwned.through("feed_import__brand").as_manager()

    class Meta:
        ordering = ["feed_import", "id"]
        constraints = [models.UniqueConstraint(fields=["feed_import", "subject"], name="import_change_once")]

    def __str__(self) -> str:
        return f"change of {self.subject_id} by import {self.feed_import_id}"


class ImportIssue(models.Model):
    """One mistake in one cell of an import, as a sentence. `cause` groups equal mistakes ("price_not_a_number")."""

    feed_import = models.ForeignKey(FeedImport, on_delete=models.CASCADE, related_name="issues")
    row = models.PositiveIntegerField(help_text=_("1 is the header, as a spreadsheet counts"))
    column = models.CharField(max_length=200, help_text=_("its heading as the file writes it"))
    cell = models.CharField(
        max_length=200, blank=True, help_text=_("A14, as a spreadsheet names it, or a path in JSON")
    )
    value = models.CharField(max_length=300)
    cause = models.CharField(max_length=60)
    message = models.CharField(max_length=500)

    objects = BrandOwned.through("feed_import__brand").as_manager()

    class Meta:
        ordering = ["feed_import", "row", "id"]

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: {self.message}"


class StagedRow(models.Model):
    """One parsed row awaiting validation and merge; unlogged, filled by COPY, emptied at the end of the import.

    parent_key: empty for a subject, else the subject's key. key: empty for a row that only has images of its subject.
    staged_at: by this a later import finds and removes the rows of a killed one.
    """

    id = models.BigAutoField(primary_key=True)
    batch = models.UUIDField()
    row = models.PositiveIntegerField()
    key = models.TextField()
    parent_key = models.TextField(blank=True)
    name = models.TextField(blank=True)
    kind = models.CharField(max_length=10)
    attributes = models.JSONField(default=dict)
    options = models.JSONField(default=dict)
    photos = models.JSONField(default=list)
    staged_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        indexes = [
            # Every statement of an import reads one whole batch.
            models.Index(fields=["batch"], name="staged_batch"),
        ]

    def __str__(self) -> str:
        return f"staged row {self.row}"
