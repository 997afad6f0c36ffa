"""Pin the inputs of an image again when it is approved; planning pins them first."""

from __future__ import annotations

from core import sql
from generation.models import Asset
from generation.selectors import inputs

# Pins again what planning pinned for a cell. By hand, because it reads the inputs as selectors/inputs.py.
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


def pin_current_inputs(asset: Asset) -> None:
    """Pin the current inputs of an asset, because a person has seen and approved them. The caller holds its lock."""
    sql.execute(_KEEP_UP, {"cell": asset.cell_id})
