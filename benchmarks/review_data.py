"""The data of benchmarks/review.py: brands with up to a million images in review, approved and rejected, made by SQL.

One brand, "meadow", has 99 of 100 images, of a quarter as many products, in 120 campaigns; the first campaign has
40 of 100. Fifty small brands share the rest. A fifth of all images waits in one of three stages: a tenth of those has
one of two approvals, and a twentieth was skipped. 15 of 100 images have a finding that is not a pass.
"""

# ruff: noqa: S608 (the statements are made of numbers and names of this module)
from __future__ import annotations

from typing import Any

SMALL_BRANDS = 50
CAMPAIGNS = 120
RUN_SIZE = 5_000
STAGES = (("brand", 2), ("legal", 1), ("market", 1))
"""(Stage, number of approvals that it needs)."""
_NAMES = "ARRAY['Sofakissen', 'Kaffeebecher', 'Teller flach', 'Vase hoch', 'Schüssel', 'Teekanne', 'Café au lait bowl']"

# One row per image, with where it belongs and what became of it. `place` spreads the outcomes evenly over all ages.
_IMAGES = f"""
CREATE TEMPORARY TABLE image AS
SELECT n AS id, b.id AS brand_id, 1 + (n %% greatest(%(images)s / 4, 1)) AS subject_id,
       CASE WHEN n %% 100 = 99 THEN small.campaign_id WHEN n %% 5 IN (1, 3) THEN big.first_campaign
            ELSE big.first_campaign + 1 + n / 5 %% {CAMPAIGNS - 1} END AS campaign_id,
       n * 37 %% 100 AS place, n * 61 %% 1000 AS other
FROM generate_series(1, %(images)s) n
CROSS JOIN (SELECT %(brand)s::bigint AS id, %(campaign)s::bigint AS first_campaign) big
CROSS JOIN LATERAL (SELECT big.id + 1 + n / 100 %% {SMALL_BRANDS} AS id,
                           big.first_campaign + {CAMPAIGNS} + n / 100 %% {SMALL_BRANDS} AS campaign_id) small
CROSS JOIN LATERAL (SELECT CASE WHEN n %% 100 = 99 THEN small.id ELSE big.id END AS id) b;

ALTER TABLE image ADD COLUMN state text, ADD COLUMN stage int, ADD COLUMN run_id bigint, ADD COLUMN made_at timestamptz;

UPDATE image SET
    state = CASE WHEN place < 20 THEN 'in_review' WHEN place < 82 THEN 'approved' WHEN place < 90 THEN 'rejected'
                 WHEN place < 94 THEN 'revising' WHEN place < 96 THEN 'stale' WHEN place < 98 THEN 'failed'
                 ELSE 'making' END,
    stage = CASE WHEN place < 12 THEN 1 WHEN place < 17 THEN 2 ELSE 3 END,
    made_at = now() - (%(images)s - id) * interval '30 days' / %(images)s;
UPDATE image SET run_id = r.number FROM (
    SELECT id, dense_rank() OVER (ORDER BY campaign_id, place_in_campaign / {RUN_SIZE}) AS number
    FROM (SELECT id, campaign_id, row_number() OVER (PARTITION BY campaign_id ORDER BY id) - 1 AS place_in_campaign
          FROM image) numbered
) r WHERE r.id = image.id;
CREATE UNIQUE INDEX ON image (id);
ANALYZE image
"""

_STATEMENTS = (
    f"""INSERT INTO core_brand (id, slug, name, currency, stale_use, banned_words, time_zone)
        SELECT %(brand)s + n, 'small-' || n, 'Small ' || n, 'EUR', 'keep', '', 'UTC'
        FROM generate_series(1, {SMALL_BRANDS}) n""",
    f"""INSERT INTO campaigns_campaign (id, brand_id, slug, name, purpose, audience, channel, patience_seconds,
                                    pilot_decisions, pilot_approval_percent, is_example_history, is_sandbox,
                                    owner_id, created_at, updated_at)
        SELECT %(campaign)s + n, %(brand)s + greatest(0, n - {CAMPAIGNS - 1}), 'campaign-' || n, 'Campaign ' || n,
               '', '', '', 3600, 10, 80, false, false, %(owner)s, now(), now()
        FROM generate_series(0, {CAMPAIGNS + SMALL_BRANDS - 1}) n""",
    f"""INSERT INTO campaigns_subject (id, brand_id, kind, key, name, attributes, is_active, created_at, updated_at)
        SELECT n, %(brand)s, 'product', 'MDW-' || lpad(n::text, 6, '0'), ({_NAMES})[1 + n %% 7] || ' ' || n,
               '{{"colour": "sage", "material": "stoneware"}}', true, now(), now()
        FROM generate_series(1, greatest(%(images)s / 4, 1)) n""",
    """INSERT INTO generation_run (id, campaign_id, name, stage, shape, definition, state, pause_reason, priority,
                                  cell_count, job_count, reused_count, left_out, quoted_cost, override_reason,
                                  job_template, endpoint_id, prompt_version_id, requested_by_id, created_at)
        SELECT run_id, campaign_id, 'Run ' || run_id, 'full', 'matrix', '{}', 'finished', '', 0, count(*), count(*), 0,
               '[]', 0, '', '', %(endpoint)s, %(prompt)s, %(owner)s, min(made_at)
        FROM image GROUP BY run_id, campaign_id""",
    """INSERT INTO generation_cell (id, run_id, subject_id, axis_values, values_key, aspect, position)
        SELECT id, run_id, subject_id, '{"backdrop": "white"}', id::text, '1:1', id FROM image""",
    """INSERT INTO generation_job (id, run_id, cell_id, campaign_id, endpoint_id, lane, batch_key, priority, status,
                                  hold_reason, remote_id, is_cancel_requested, attempts, deaths, error_kind, error,
                                  step, steps)
        SELECT id, run_id, id, campaign_id, %(endpoint)s, 'cpu', '', 0, 'succeeded', '', '', false, 1, 0, '', '', 0, 0
        FROM image""",
    """INSERT INTO generation_jobspec (job_id, brand_id, cell_id, round, candidate, fingerprint, quoted_cost, spec)
        SELECT id, brand_id, id, 1, 1, lpad(id::text, 64, '0'), 0,
               '{"prompt": "a stoneware mug in sage, studio light", "negative": "text", "width": 1024,
                 "height": 1024, "seed": 7, "candidate": 1, "parameters": {"backdrop": "white"}, "images": {}}'
        FROM image WHERE state IN ('in_review', 'stale', 'revising')""",
    """INSERT INTO generation_master (id, brand_id, fingerprint, sha256, storage_key, image_format, width, height,
                                     has_alpha, bytes, thumbnails, pdq, pdq_quality, colours, was_rejected, created_at)
        SELECT id, brand_id, lpad(id::text, 64, '0'), lpad(id::text, 64, '0'), 'sha256/' || id || '.png', 'png', 1024,
               1024, false, 1500000, jsonb_build_object('256', 'sha256/' || id || '.webp'), '', 0,
               decode(repeat(lpad(to_hex(id %% 65536), 4, '0'), 24), 'hex'), false, made_at
        FROM image""",
    """INSERT INTO generation_asset (id, brand_id, campaign_id, subject_id, cell_id, state, round, is_sandbox,
                                    created_at, changed_at)
        SELECT id, brand_id, campaign_id, subject_id, id, state, 1, false, made_at, made_at FROM image""",
    """INSERT INTO generation_assetversion (id, asset_id, round, candidate, master_id, job_id, source, worst_outcome,
                                           created_at)
        SELECT id, id, 1, 1, id, id, 'generated', CASE WHEN other < 150 THEN 'flag' ELSE 'pass' END, made_at
        FROM image WHERE state NOT IN ('making', 'failed')""",
    """UPDATE generation_asset SET current_version_id = id WHERE state NOT IN ('making', 'failed')""",
    """INSERT INTO generation_finding (version_id, check_name, outcome, message)
        SELECT id, name, CASE WHEN other < 150 AND name = (ARRAY['blank', 'size', 'near_duplicate'])[1 + other %% 3]
                              THEN 'flag' ELSE 'pass' END, 'looked at'
        FROM image, unnest(ARRAY['blank', 'size', 'near_duplicate']) name
        WHERE state NOT IN ('making', 'failed')""",
    """INSERT INTO generation_rendition (version_id, output_spec_id, recipe_version, sha256, storage_key, image_format,
                                        width, height, bytes, created_at)
        SELECT id, %(spec)s, 1, lpad(id::text, 64, '1'), 'sha256/' || id || '.jpg', 'jpeg', 800, 800, 90000, made_at
        FROM image WHERE state NOT IN ('making', 'failed')""",
)

# A task for each stage that an image has reached; the last of an image in review is open.
_TASKS = """
INSERT INTO review_reviewtask (id, brand_id, asset_id, run_id, product_key, has_problem, checklist_version_id, stage,
                               state, round, opened_at, due_at, skipped_at)
SELECT image.id * 3 + s.number, image.brand_id, image.id, run_id, 'MDW-' || lpad(subject_id::text, 6, '0'),
       other < 150, v.id,
       s.stage, t.state, 1, made_at,
       made_at + interval '12 days', CASE WHEN t.state = 'open' AND other %% 20 = 0 THEN made_at END
FROM image
JOIN (VALUES (1, 'brand'), (2, 'legal'), (3, 'market')) AS s (number, stage)
     ON s.number <= CASE WHEN image.state = 'in_review' THEN image.stage WHEN image.state = 'approved' THEN 3 ELSE 1 END
JOIN review_checklist c ON c.brand_id = image.brand_id AND c.stage = s.stage
JOIN review_checklistversion v ON v.checklist_id = c.id
CROSS JOIN LATERAL (
    SELECT CASE WHEN image.state = 'in_review' AND s.number = image.stage THEN 'open'
                WHEN image.state = 'revising' THEN 'awaiting_version'
                WHEN image.state = 'stale' THEN 'open' ELSE 'decided' END AS state
) t
WHERE image.state NOT IN ('making', 'failed')
"""
_DECISIONS = """
INSERT INTO review_decision (id, task_id, version_id, kind, decided_by_id, decided_at, effective_at, consequences_at,
                             note, answers, controls, pinned)
SELECT t.id, t.id, t.asset_id,
       CASE image.state WHEN 'rejected' THEN 'rejected' WHEN 'revising' THEN 'needs_revision' ELSE 'approved' END,
       CASE WHEN t.asset_id %% 2 = 0 THEN %(reviewer)s ELSE %(owner)s END, made_at, made_at, made_at, '', '{}', '{}',
       jsonb_build_object('master', lpad(image.id::text, 64, '0'))
FROM review_reviewtask t JOIN image ON image.id = t.asset_id
WHERE t.state <> 'open' OR (t.stage = 'brand' AND other %% 10 = 0)
"""
_SLOTS = """
INSERT INTO review_decisionslot (task_id, slot, decision_id)
SELECT t.id, s.slot, CASE WHEN s.slot = 1 THEN d.id END
FROM review_reviewtask t
JOIN review_checklistversion v ON v.id = t.checklist_version_id JOIN review_checklist c ON c.id = v.checklist_id
CROSS JOIN LATERAL generate_series(1, c.slots) s (slot)
LEFT JOIN review_decision d ON d.task_id = t.id
"""
_SEQUENCES = ("core_brand", "campaigns_campaign", "campaigns_subject", "generation_run", "generation_cell",
              "generation_job", "generation_master", "generation_asset", "generation_assetversion",
              "review_reviewtask", "review_decision")  # fmt: skip


def create(images: int) -> dict[str, Any]:
    """Create so many images. Returns the users: a reviewer, a lead of 30 brands and a superuser, and the brand."""
    from django.db import connection

    from tests.support import factories

    owner = factories.UserFactory(username="owner")
    users = {
        "reviewer": factories.UserFactory(username="reviewer"),
        "lead": factories.UserFactory(username="lead"),
        "superuser": factories.UserFactory(username="root", is_superuser=True, is_staff=True),
    }
    brand = factories.BrandFactory(slug="meadow", name="Meadow")
    campaign = factories.CampaignFactory(brand=brand, owner=owner, slug="specs", name="Specs")
    spec = factories.OutputSpecFactory(campaign=campaign)
    prompt = factories.PromptVersionFactory(template__brand=brand, created_by=owner)
    endpoint = factories.EndpointFactory(engine="packshot")
    values = {
        "images": images, "brand": brand.pk, "campaign": campaign.pk + 1, "owner": owner.pk, "prompt": prompt.pk,
        "endpoint": endpoint.pk, "spec": spec.pk, "reviewer": users["reviewer"].pk,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off; SET work_mem = '256MB'; SET maintenance_work_mem = '256MB'")
        cursor.execute(_STATEMENTS[0], values)
    _create_members(brand, users)
    _create_checklists()
    with connection.cursor() as cursor:
        cursor.execute(_IMAGES, values)
        for statement in (*_STATEMENTS[1:], _TASKS, _DECISIONS, _SLOTS):
            cursor.execute(statement, values)
        for table in _SEQUENCES:
            cursor.execute(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")
        cursor.execute("DROP TABLE image")
        cursor.execute("VACUUM ANALYZE")
    return {"brand": brand, "users": users, "campaign": campaign.pk + 1}


def _create_members(brand: Any, users: dict[str, Any]) -> None:
    from core.models import Brand, Membership

    lead_of = [brand, *Brand.objects.filter(slug__startswith="small-").order_by("pk")[:29]]
    rows = [Membership(brand=brand, user=users["reviewer"], role="reviewer")]
    Membership.objects.bulk_create(
        [*rows, *(Membership(brand=one, user=users["lead"], role="lead") for one in lead_of)]
    )


def _create_checklists() -> None:
    from core.models import Brand
    from review.models import Checklist, ChecklistVersion

    rows = [
        Checklist(brand=brand, stage=stage, name=stage.title(), position=number, slots=slots, due_hours=24)
        for brand in Brand.objects.all()
        for number, (stage, slots) in enumerate(STAGES, 1)
    ]
    items = [{"code": "colour", "sentence": "The colour is the product’s colour.", "mode": "by_exception"}]
    created = Checklist.objects.bulk_create(rows)
    ChecklistVersion.objects.bulk_create([ChecklistVersion(checklist=row, number=1, items=items) for row in created])
