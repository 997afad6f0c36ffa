"""Pin the inputs of an image when it is planned, and again when it is approved."""

from __future__ import annotations

from campaigns.selectors import prompts as prompt_selectors
from core import sql
from generation.models import Asset
from generation.selectors import inputs

# Pins again what is pinned for a cell. Both statements are by hand, because they read the inputs as
# selectors/inputs.py.
_KEEP_UP = f"""
UPDATE generation_pinnedinputs AS pinned
SET feed_values = now.feed_values,
    photo_pk = now.photo_pk,
    photo_sha256 = now.photo_sha256,
    cutout_sha256 = now.cutout_sha256
FROM (
    SELECT p.cell_id, f.id AS photo_pk, coalesce(f.sha256, '') AS photo_sha256,
           CASE WHEN p.cutout_sha256 <> '' THEN coalesce(k.sha256, '') ELSE '' END AS cutout_sha256,
           (SELECT coalesce(jsonb_object_agg(e.key, {inputs.CURRENT}), '{{}}')
            FROM jsonb_object_keys(p.feed_values) AS e (key)) AS feed_values
    FROM generation_pinnedinputs p JOIN campaigns_subject s ON s.id = p.subject_id {inputs.JOINS}
    WHERE p.cell_id = %(cell)s
) AS now
WHERE pinned.cell_id = now.cell_id
"""  # noqa: S608 (our own text only)

# Pins the photo whose file, or whose accepted cut-out, is named by the frozen spec of a cell.
_PIN = f"""
INSERT INTO generation_pinnedinputs (cell_id, subject_id, feed_values, photo_pk, photo_sha256, cutout_sha256)
SELECT c.id, c.subject_id,
       (SELECT coalesce(jsonb_object_agg(e.key, {inputs.CURRENT}), '{{}}') FROM unnest(%(names)s::text[]) AS e (key)),
       used.photo_pk, coalesce(used.photo_sha256, ''), coalesce(used.cutout_sha256, '')
FROM generation_cell c JOIN campaigns_subject s ON s.id = c.subject_id
LEFT JOIN LATERAL (
    SELECT f.id AS photo_pk, f.sha256 AS photo_sha256,
           CASE WHEN k.sha256 = ANY(%(files)s) THEN k.sha256 ELSE '' END AS cutout_sha256
    FROM campaigns_referencephoto f LEFT JOIN campaigns_cutout k ON k.photo_id = f.id AND k.is_accepted
    WHERE f.subject_id = c.subject_id AND f.status = 'ready'
      AND (f.sha256 = ANY(%(files)s) OR k.sha256 = ANY(%(files)s))
    ORDER BY f.position, f.id LIMIT 1
) used ON true
WHERE c.id = %(cell)s
ON CONFLICT (cell_id) DO NOTHING
"""  # noqa: S608 (our own text only)


def pin_current_inputs(asset: Asset) -> None:
    """Pin the current inputs of an asset, because a person has seen and approved them. The caller holds its lock."""
    if sql.execute(_KEEP_UP, {"cell": asset.cell_id}):
        return
    source = prompt_selectors.prompt_source(asset.cell.run.prompt_version)
    names = inputs.used_names(source, asset.cell.axis_values)
    sql.execute(_PIN, {"cell": asset.cell_id, "names": sorted(names), "files": _files(asset)})


def _files(asset: Asset) -> list[str]:
    """Return the sha256 of each input image that the asset's version was made from."""
    version = asset.current_version
    frozen = getattr(version.job, "frozen", None) if version is not None and version.job_id else None
    return [image["sha256"] for image in frozen.spec.get("images", {}).values()] if frozen is not None else []
