"""The merge of a staged feed into a brand's subjects, variants and photos, in a few set-based steps.

A merge holds one advisory lock per brand, which only imports take, and row locks on the subjects that it changes. Rows
that point at a subject (cells, assets) need only key locks, so planning, review and decisions continue meanwhile. A
long merge holds back nothing but the sealing of events, until its transaction ends.

The statements are written by hand: the ORM has neither INSERT … SELECT nor temporary tables, and a million rows must
not pass through Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from string import Template
from typing import Any
from uuid import UUID

from campaigns.models import StagedRow
from core import clock, sql

WORK_MEMORY = "64MB"  # what one sort or hash of a merge may use before it spills to disk
LARGE_BATCH = 1000
"""Above this number of rows a batch is joined as a whole; a smaller batch finds its few subjects by index."""

_OWN = "r.batch = %(batch)s AND r.parent_key = ''"
_TO_SUBJECT = "campaigns_subject s ON s.brand_id = %(brand)s AND s.kind = r.kind AND s.key"

# Variants may come without a row of their product. The product then gets the first variant's name and the attributes
# that all its variants share.
_STAND_IN = """
    WITH lost AS (
        SELECT r.* FROM campaigns_stagedrow r
        WHERE r.batch = %(batch)s AND r.parent_key <> '' AND r.key <> ''
          AND NOT EXISTS (
            SELECT 1 FROM campaigns_stagedrow p
            WHERE p.batch = r.batch AND p.kind = r.kind AND p.key = r.parent_key AND p.parent_key = ''
          )
          AND (%(groups)s OR NOT EXISTS (
            SELECT 1 FROM campaigns_subject s
            WHERE s.brand_id = %(brand)s AND s.kind = r.kind AND s.key = r.parent_key
          ))
    ), named AS (
        SELECT DISTINCT ON (kind, parent_key) kind, parent_key, row, name FROM lost
        WHERE name <> '' ORDER BY kind, parent_key, row, id
    ), said AS (
        SELECT kind, parent_key, id, a.key AS name, a.value FROM lost, jsonb_each_text(attributes) a
        UNION ALL
        SELECT kind, parent_key, id, regexp_replace(lower(o.key), '\\W+', '_', 'g'), o.value
        FROM lost, jsonb_each_text(options) o
    ), shared AS (
        SELECT kind, parent_key, jsonb_object_agg(name, value) AS attributes FROM (
            SELECT kind, parent_key, name, min(value) AS value FROM said
            GROUP BY kind, parent_key, name HAVING min(value) = max(value)
        ) AS one GROUP BY kind, parent_key
    )
    INSERT INTO campaigns_stagedrow (batch, row, key, parent_key, name, kind, attributes, options, photos)
    SELECT %(batch)s, n.row, n.parent_key, '', n.name, n.kind, coalesce(s.attributes, '{}'), '{}', '[]'
    FROM named n LEFT JOIN shared s USING (kind, parent_key)
"""

# The feed may change or empty the attributes that it has a column for; all other attributes stay as they are.
_KEPT = "(s.attributes - %(spoken)s::text[])"
# A subject that was retired because its import was undone comes back when another feed names it. A subject that a
# person retired stays retired.
_RETURNS = """NOT s.is_active AND EXISTS (
    SELECT 1 FROM campaigns_importchange c JOIN campaigns_feedimport i ON i.id = c.feed_import_id
    WHERE c.subject_id = s.id AND c.was IS NULL AND i.undone_at IS NOT NULL
)"""

_REMEMBER_SUBJECTS = """
    INSERT INTO import_was
    SELECT s.id, 'subject', jsonb_strip_nulls(jsonb_build_object(
        'name', CASE WHEN s.name <> r.name THEN s.name END,
        'attributes', CASE WHEN s.attributes <> $kept || r.attributes THEN s.attributes END,
        'is_active', CASE WHEN $returns THEN false END
    ))
    FROM campaigns_stagedrow r JOIN $to_subject = r.key
    WHERE $own
      AND ((s.name, s.attributes) IS DISTINCT FROM (r.name, $kept || r.attributes) OR $returns)
    FOR NO KEY UPDATE OF s
"""

_MERGE_SUBJECTS = """
    WITH merged AS (
        INSERT INTO campaigns_subject AS s (brand_id, kind, key, name, attributes, is_active, created_at, updated_at)
        SELECT %(brand)s, r.kind, r.key, r.name, r.attributes, true, %(now)s, %(now)s
        FROM campaigns_stagedrow r WHERE $own
        ON CONFLICT (brand_id, kind, key) DO UPDATE
        SET name = EXCLUDED.name,
            attributes = $kept || EXCLUDED.attributes,
            is_active = s.is_active OR ($returns),
            updated_at = %(now)s
        WHERE (s.name, s.attributes) IS DISTINCT FROM (EXCLUDED.name, $kept || EXCLUDED.attributes)
              OR ($returns)
        -- A row without an earlier version of itself was inserted, not updated.
        RETURNING s.id, s.xmax = 0 AS is_new
    )
    INSERT INTO import_touched SELECT id, is_new FROM merged
"""

_REMEMBER_VARIANTS = """
    INSERT INTO import_was
    SELECT s.id, 'variants', jsonb_build_object('key', r.key, 'was',
        CASE WHEN v.id IS NOT NULL THEN
            jsonb_build_object('options', v.options, 'attributes', v.attributes, 'position', v.position) END)
    FROM (
        SELECT *, row_number() OVER (PARTITION BY kind, parent_key ORDER BY row, id) AS position
        FROM campaigns_stagedrow WHERE batch = %(batch)s AND parent_key <> '' AND key <> ''
    ) r
    JOIN $to_subject = r.parent_key
    LEFT JOIN campaigns_variant v ON v.subject_id = s.id AND v.key = r.key
    WHERE NOT EXISTS (SELECT 1 FROM import_touched t WHERE t.id = s.id AND t.is_new)
      AND (v.options, v.attributes, v.position) IS DISTINCT FROM (r.options, r.attributes, r.position)
"""

_MERGE_VARIANTS = """
    WITH merged AS (
        INSERT INTO campaigns_variant AS v (subject_id, key, options, attributes, position)
        SELECT s.id, r.key, r.options, r.attributes,
               row_number() OVER (PARTITION BY r.kind, r.parent_key ORDER BY r.row, r.id)
        FROM campaigns_stagedrow r JOIN $to_subject = r.parent_key
        WHERE r.batch = %(batch)s AND r.parent_key <> '' AND r.key <> ''
        ON CONFLICT (subject_id, key) DO UPDATE
        SET options = EXCLUDED.options, attributes = EXCLUDED.attributes, position = EXCLUDED.position
        WHERE (v.options, v.attributes, v.position)
              IS DISTINCT FROM (EXCLUDED.options, EXCLUDED.attributes, EXCLUDED.position)
        RETURNING v.subject_id
    )
"""

_GIVEN_PHOTOS = """
    CREATE TEMPORARY TABLE import_photos ON COMMIT DROP AS
    SELECT s.id AS subject_id, p.source, p.alt, p.role, p.position
    FROM campaigns_stagedrow r
    CROSS JOIN LATERAL jsonb_to_recordset(r.photos) AS p(source text, position int, alt text, role text)
    JOIN $to_subject = r.key
    WHERE $own AND r.photos <> '[]'
"""

# Photos of variants follow those of the product itself, variant after variant.
_GIVEN_WITH_OTHERS = """
    CREATE TEMPORARY TABLE import_photos ON COMMIT DROP AS
    SELECT DISTINCT ON (subject_id, source) subject_id, source, alt, role,
           CASE WHEN of_variant THEN place + after ELSE position END AS position
    FROM (
        SELECT s.id AS subject_id, p.source, p.position, p.alt, p.role, v.of_variant,
               row_number() OVER (PARTITION BY s.id, v.of_variant ORDER BY r.row, r.id, p.position) AS place,
               coalesce(max(p.position) FILTER (WHERE NOT v.of_variant) OVER (PARTITION BY s.id), 0) AS after
        FROM campaigns_stagedrow r
        CROSS JOIN LATERAL (SELECT r.parent_key <> '' AND r.key <> '' AS of_variant) v
        CROSS JOIN LATERAL jsonb_to_recordset(r.photos) AS p(source text, position int, alt text, role text)
        JOIN $to_subject = CASE WHEN r.parent_key = '' THEN r.key ELSE r.parent_key END
        WHERE r.batch = %(batch)s AND r.photos <> '[]'
    ) AS every
    ORDER BY subject_id, source, of_variant, position
"""

_REMEMBER_PHOTOS = """
    INSERT INTO import_was
    SELECT g.subject_id, 'photos', jsonb_build_object('source', g.source, 'was',
        CASE WHEN f.id IS NOT NULL THEN jsonb_build_object('position', f.position, 'alt_text', f.alt_text) END)
    FROM import_photos g LEFT JOIN campaigns_referencephoto f ON f.subject_id = g.subject_id AND f.source = g.source
    WHERE NOT EXISTS (SELECT 1 FROM import_touched t WHERE t.id = g.subject_id AND t.is_new)
      AND (f.id IS NULL OR f.position <> g.position OR g.alt NOT IN ('', f.alt_text))
"""

# Once the photo exists, only people change its role. An empty alt text never replaces a written one.
_MERGE_PHOTOS = """
    WITH merged AS (
        INSERT INTO campaigns_referencephoto AS f (subject_id, role, position, source, alt_text, status, notes,
                                                   sha256, storage_key, width, height, attempts, deaths, due_at,
                                                   created_at)
        SELECT subject_id, role, position, source, alt, 'pending', '[]', '', '', 0, 0, 0, 0,
               CASE WHEN source ~* '^https?://' THEN %(now)s END, %(now)s
        FROM import_photos
        ON CONFLICT (subject_id, source) DO UPDATE
        SET position = EXCLUDED.position,
            alt_text = CASE WHEN EXCLUDED.alt_text = '' THEN f.alt_text ELSE EXCLUDED.alt_text END
        WHERE f.position <> EXCLUDED.position OR EXCLUDED.alt_text NOT IN ('', f.alt_text)
        RETURNING f.subject_id
    )
"""

_TOUCH = """,
    told AS (
        INSERT INTO import_touched SELECT DISTINCT subject_id, false FROM merged m
        WHERE NOT EXISTS (SELECT 1 FROM import_touched t WHERE t.id = m.subject_id)
    )
    SELECT count(*) FROM merged
"""

_WRITE_DOWN = """
    INSERT INTO campaigns_importchange (feed_import_id, subject_id, was, subject_updated_at)
    SELECT %(import)s, t.id, CASE WHEN NOT t.is_new THEN coalesce(w.was, '{}') END, %(now)s
    FROM import_touched t LEFT JOIN (
        SELECT subject_id, coalesce(jsonb_agg(part) FILTER (WHERE what = 'subject') -> 0, '{}')
            || CASE WHEN bool_or(what = 'variants')
                    THEN jsonb_build_object('variants', jsonb_agg(part) FILTER (WHERE what = 'variants')) ELSE '{}' END
            || CASE WHEN bool_or(what = 'photos')
                    THEN jsonb_build_object('photos', jsonb_agg(part) FILTER (WHERE what = 'photos')) ELSE '{}' END
            AS was
        FROM import_was GROUP BY subject_id
    ) w ON w.subject_id = t.id
"""

_TOTAL = """
    SELECT count(*) + (
        SELECT count(DISTINCT (r.kind, r.parent_key)) FROM campaigns_stagedrow r
        WHERE r.batch = %(batch)s AND r.parent_key <> '' AND NOT EXISTS (
            SELECT 1 FROM campaigns_stagedrow p
            WHERE p.batch = r.batch AND p.kind = r.kind AND p.key = r.parent_key AND p.parent_key = ''
        )
    )
    FROM campaigns_stagedrow WHERE batch = %(batch)s AND parent_key = ''
"""


def _filled(text: str) -> str:
    """Return the statement with the shared SQL pieces filled in."""
    pieces = {"own": _OWN, "to_subject": _TO_SUBJECT, "kept": _KEPT, "returns": _RETURNS}
    return Template(text).substitute(pieces)


def plan_for_size(batch: UUID) -> None:
    """Make the statements of this transaction join a large batch as a whole, without nested loops.

    The planner's statistics may be older than the batch (because of another import, or rows of a killed one). If it
    took a million rows for one row, it would search the batch again for each of them.
    """
    sql.execute(
        "SELECT set_config('enable_nestloop', CASE WHEN count(*) > %s THEN 'off' ELSE 'on' END, true)"
        " FROM (SELECT 1 FROM campaigns_stagedrow WHERE batch = %s LIMIT %s) AS few",
        [LARGE_BATCH, batch, LARGE_BATCH + 1],
    )


def merge(
    batch: UUID, *, brand_id: int, spoken: Iterable[str], import_id: int | None = None, groups: bool = False
) -> dict[str, int]:
    """Insert or update subjects, variants and photos from the batch. Must run inside a transaction.

    `spoken` are the attributes that the feed has columns for. With `import_id`, the earlier values are stored as that
    import's changes. `groups`: the feed has only variants, and its products are made from what the variants share.
    Imports of one brand wait for each other here. Returns how many subjects were "created", "updated" and "unchanged",
    each counted once, and how many rows are "variants_changed" and "photos_changed".
    """
    values: dict[str, Any] = {
        "batch": batch, "brand": brand_id, "spoken": sorted(spoken), "now": clock.now(), "import": import_id,
        "groups": groups,
    }  # fmt: skip
    lock_imports_of_brand(brand_id)
    plan_for_size(batch)
    sql.execute(f"SET LOCAL work_mem = '{WORK_MEMORY}'")
    for table in ("touched (id bigint, is_new boolean)", "was (subject_id bigint, what text, part jsonb)"):
        sql.execute(f"DROP TABLE IF EXISTS import_{table.split()[0]}")
        sql.execute(f"CREATE TEMPORARY TABLE import_{table} ON COMMIT DROP")
    sql.execute(_STAND_IN, values)
    if import_id is not None:
        sql.execute(_filled(_REMEMBER_SUBJECTS), values)
    sql.execute(_filled(_MERGE_SUBJECTS), values)
    if import_id is not None:
        sql.execute(_filled(_REMEMBER_VARIANTS), values)
    [(variants,)] = sql.rows(_filled(_MERGE_VARIANTS + _TOUCH), values)
    photos = _merge_photos(values)
    sql.execute(
        "UPDATE campaigns_subject s SET updated_at = %(now)s FROM import_touched t "
        "WHERE s.id = t.id AND NOT t.is_new AND s.updated_at <> %(now)s",
        values,
    )
    if import_id is not None:
        sql.execute(_WRITE_DOWN, values)
    [(created, touched)] = sql.rows("SELECT count(*) FILTER (WHERE is_new), count(*) FROM import_touched")
    [(total,)] = sql.rows(_TOTAL, values)
    return {
        "created": created, "updated": touched - created, "unchanged": total - touched, "variants_changed": variants,
        "photos_changed": photos,
    }  # fmt: skip


def lock_imports_of_brand(brand_id: int) -> None:
    """Wait until other imports into the brand, and undoings, have ended; later ones wait for this transaction."""
    sql.lock("feed import", brand_id)


def _merge_photos(values: dict[str, Any]) -> int:
    sql.execute("DROP TABLE IF EXISTS import_photos")
    # Photos of rows that are not a product's own.
    has_others = StagedRow.objects.filter(batch=values["batch"]).exclude(parent_key="").exclude(photos=[]).exists()
    sql.execute(_filled(_GIVEN_WITH_OTHERS if has_others else _GIVEN_PHOTOS), values)
    if values["import"] is not None:
        sql.execute(_REMEMBER_PHOTOS, values)
    [(changed,)] = sql.rows(_MERGE_PHOTOS + _TOUCH, values)
    return int(changed)
