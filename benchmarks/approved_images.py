"""Approved images by the thousand for benchmarks, written by SQL: one per product, with a decision each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_FILL = """
WITH subjects AS (
    INSERT INTO campaigns_subject (brand_id, kind, key, name, attributes, is_active, created_at, updated_at)
    SELECT %(brand)s, 'product', 'MUG-' || n, 'Mug ' || n, '{"colour": "sage", "material": "stoneware", "price": "12"}',
           true, now(), now()
    FROM generate_series(1, %(assets)s) n
    RETURNING id, key, name
), photos AS (
    INSERT INTO campaigns_referencephoto (subject_id, role, position, source, alt_text, status, notes, sha256,
                                          storage_key, width, height, attempts, deaths, created_at)
    SELECT id, 'front', 1, key || '.jpg', '', 'ready', '[]', lpad(id::text, 64, '0'), 'x', 1, 1, 0, 0, now()
    FROM subjects
    RETURNING id, subject_id, sha256
), cells AS (
    INSERT INTO generation_cell (run_id, subject_id, axis_values, values_key, aspect, position)
    SELECT %(run)s, id, '{}', '{}', '1:1', id FROM subjects
    RETURNING id, subject_id
), pins AS (
    INSERT INTO generation_pinnedinputs (cell_id, subject_id, feed_values, photo_pk, photo_sha256, cutout_sha256)
    SELECT c.id, c.subject_id, jsonb_build_object('name', s.name, 'colour', 'sage'), p.id, p.sha256, ''
    FROM cells c JOIN subjects s ON s.id = c.subject_id JOIN photos p ON p.subject_id = c.subject_id
), assets AS (
    INSERT INTO generation_asset (brand_id, campaign_id, subject_id, cell_id, state, round, is_sandbox, created_at,
                                  changed_at)
    SELECT %(brand)s, %(campaign)s, subject_id, id, 'approved', 1, false, now(), now() FROM cells
    RETURNING id
), versions AS (
    INSERT INTO generation_assetversion (asset_id, round, candidate, master_id, source, worst_outcome, created_at)
    SELECT id, 1, 1, %(master)s, 'generated', 'pass', now() FROM assets
    RETURNING id, asset_id
), tasks AS (
    INSERT INTO review_reviewtask (brand_id, asset_id, run_id, product_key, checklist_version_id, stage, state, round,
                                   opened_at)
    SELECT %(brand)s, id, %(run)s, '', %(checklist)s, 'brand', 'decided', 1, now() FROM assets
    RETURNING id, asset_id
), decisions AS (
    INSERT INTO review_decision (task_id, version_id, kind, decided_by_id, decided_at, effective_at,
                                 consequences_at, note, answers, controls, pinned)
    SELECT t.id, v.id, 'approved', %(user)s, now(), now(), now(), '', '{}', '{}', %(pinned)s
    FROM tasks t JOIN versions v ON v.asset_id = t.asset_id
    RETURNING id, task_id
)
INSERT INTO review_decisionslot (task_id, slot, decision_id) SELECT task_id, 1, id FROM decisions
"""


def create_approved_images(assets: int, pinned: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    """Create a brand with so many approved images, one per product; return (brand, the user who approved them).

    pinned: what each decision is pinned to.
    """
    from django.db import connection

    from tests.support import factories

    brand = factories.BrandFactory()
    run = factories.RunFactory(campaign__brand=brand)
    checklist = factories.ChecklistVersionFactory(checklist__brand=brand)
    user = factories.UserFactory()
    values = {"brand": brand.pk, "run": run.pk, "campaign": run.campaign_id, "assets": assets, "user": user.pk}
    values |= {"master": factories.MasterFactory(brand=brand).pk, "checklist": checklist.pk}
    values["pinned"] = json.dumps(pinned or {})
    with connection.cursor() as cursor:
        cursor.execute(_FILL, values)
        cursor.execute(
            "UPDATE generation_asset a SET current_version_id = v.id FROM generation_assetversion v"
            " WHERE v.asset_id = a.id"
        )
    return brand, user
