"""Undo an import: restore what it changed, unless it was changed again since.

Set-based like the merge, for the same reason by hand, and under the same lock, so an import and an undoing never run at
the same time.
"""

from __future__ import annotations

from string import Template
from typing import Any

from django.db.models import ManyToOneRel

from campaigns.models import FeedImport, ImportChange, ReferencePhoto, Subject, Variant
from campaigns.services import merging
from core import clock, sql

_PLAN = """
    CREATE TEMPORARY TABLE undo_plan ON COMMIT DROP AS
    SELECT s.id AS subject_id, c.was,
           CASE WHEN s.updated_at <> c.subject_updated_at THEN 'kept'
                WHEN c.was IS NOT NULL THEN 'restored'
                WHEN $is_used THEN 'retired'
                ELSE 'removed' END AS fate
    FROM campaigns_importchange c JOIN campaigns_subject s ON s.id = c.subject_id
    WHERE c.feed_import_id = %(import)s
    FOR UPDATE OF s
"""

# The work of people on its photos must be kept: files they added, cut-outs they made or accepted.
_WORKED_ON = """
    EXISTS (SELECT 1 FROM campaigns_referencephoto f WHERE f.subject_id = s.id AND f.created_at <> s.created_at)
    OR EXISTS (
        SELECT 1 FROM campaigns_cutout k JOIN campaigns_referencephoto f ON f.id = k.photo_id
        WHERE f.subject_id = s.id AND (k.made_by_id IS NOT NULL OR k.accepted_by_id IS NOT NULL)
    )
"""

_POINTS = 'EXISTS (SELECT 1 FROM "$table" x WHERE x."$column" = s.id)'
_REMOVED = "(SELECT subject_id FROM undo_plan WHERE fate = 'removed')"
_REMOVE = [
    "DELETE FROM campaigns_cutout WHERE photo_id IN "
    "(SELECT id FROM campaigns_referencephoto WHERE subject_id IN $removed)",
    "DELETE FROM campaigns_referencephoto WHERE subject_id IN $removed",
    "DELETE FROM campaigns_variant WHERE subject_id IN $removed",
    "DELETE FROM campaigns_importchange WHERE subject_id IN $removed",
    "DELETE FROM campaigns_subject WHERE id IN $removed",
]
_RETIRE = """
    UPDATE campaigns_subject s SET is_active = false, updated_at = %(now)s
    FROM undo_plan u WHERE u.subject_id = s.id AND u.fate = 'retired'
"""
_PARTS = """
    CREATE TEMPORARY TABLE undo_parts ON COMMIT DROP AS
    SELECT u.subject_id, w.what, coalesce(p.part ->> 'key', p.part ->> 'source') AS name,
           CASE WHEN jsonb_typeof(p.part -> 'was') = 'object' THEN p.part -> 'was' END AS was
    FROM undo_plan u
    CROSS JOIN (VALUES ('variants'), ('photos')) AS w(what)
    CROSS JOIN LATERAL jsonb_array_elements(coalesce(u.was -> w.what, '[]')) AS p(part)
    WHERE u.fate = 'restored' AND jsonb_typeof(coalesce(u.was -> w.what, '[]')) = 'array'
"""
_RESTORE = [
    """
    UPDATE campaigns_subject s
    SET name = coalesce(u.was ->> 'name', s.name),
        attributes = coalesce(u.was -> 'attributes', s.attributes),
        is_active = coalesce((u.was ->> 'is_active')::boolean, s.is_active),
        updated_at = %(now)s
    FROM undo_plan u WHERE u.subject_id = s.id AND u.fate = 'restored'
    """,
    """
    DELETE FROM campaigns_variant v USING undo_parts p
    WHERE p.what = 'variants' AND p.was IS NULL AND v.subject_id = p.subject_id AND v.key = p.name
    """,
    """
    UPDATE campaigns_variant v
    SET options = p.was -> 'options', attributes = p.was -> 'attributes', position = (p.was ->> 'position')::int
    FROM undo_parts p
    WHERE p.what = 'variants' AND p.was IS NOT NULL AND v.subject_id = p.subject_id AND v.key = p.name
    """,
    """
    CREATE TEMPORARY TABLE undo_photos ON COMMIT DROP AS
    SELECT f.id FROM campaigns_referencephoto f JOIN undo_parts p ON p.subject_id = f.subject_id AND p.name = f.source
    WHERE p.what = 'photos' AND p.was IS NULL AND NOT EXISTS (
        SELECT 1 FROM campaigns_cutout k
        WHERE k.photo_id = f.id AND (k.made_by_id IS NOT NULL OR k.accepted_by_id IS NOT NULL)
    )
    """,
    "DELETE FROM campaigns_cutout WHERE photo_id IN (SELECT id FROM undo_photos)",
    "DELETE FROM campaigns_referencephoto WHERE id IN (SELECT id FROM undo_photos)",
    """
    UPDATE campaigns_referencephoto f
    SET position = (p.was ->> 'position')::int, alt_text = p.was ->> 'alt_text'
    FROM undo_parts p
    WHERE p.what = 'photos' AND p.was IS NOT NULL AND f.subject_id = p.subject_id AND f.source = p.name
    """,
]


def undo(import_id: int) -> dict[str, int]:
    """Undo an applied import. Must run inside a transaction.

    Subjects that it created are deleted, or retired if a cell, an asset, a campaign or people's work on their photos
    depends on them. Subjects that it changed are restored. Subjects changed since (by hand, by a later feed) are kept.
    Returns the number of subjects "removed", "restored", "kept" and "retired"; the retired ones also count as removed.
    """
    values: dict[str, Any] = {"import": import_id, "now": clock.now()}
    merging.lock_imports_of_brand(FeedImport.objects.values_list("brand_id", flat=True).get(pk=import_id))
    for table in ("plan", "parts", "photos"):
        sql.execute(f"DROP TABLE IF EXISTS undo_{table}")
    sql.execute(Template(_PLAN).substitute(is_used=_is_used()), values)
    counts = dict(sql.rows("SELECT fate, count(*) FROM undo_plan GROUP BY fate"))
    for statement in (_RETIRE, _PARTS, *_RESTORE, *_REMOVE):
        sql.execute(Template(statement).substitute(removed=_REMOVED), values)
    counts = dict.fromkeys(("removed", "restored", "kept", "retired"), 0) | counts
    return counts | {"removed": counts["removed"] + counts["retired"]}


def _is_used() -> str:
    """Return SQL that is true if a row of any app refers to subject s, or people have worked on its photos."""
    own = (Variant, ReferencePhoto, ImportChange)
    uses = [_WORKED_ON]
    for relation in Subject._meta.get_fields(include_hidden=True):
        if isinstance(relation, ManyToOneRel) and relation.related_model not in own:
            table, column = relation.related_model._meta.db_table, relation.field.column
            uses.append(Template(_POINTS).substitute(table=table, column=column))
    return "(" + " OR ".join(uses) + ")"
