"""Counts of assets, kept by triggers. They run once per statement, however many rows it changes."""

import django.db.models.deletion
from django.db import migrations, models

from core import triggers

# ROWS: the changed rows, each with a sign: 1 for what is now, -1 for what was before.
_ASSETS = """
WITH moved AS (SELECT changed.*, c.run_id FROM (ROWS) changed JOIN generation_cell c ON c.id = changed.cell_id)
INSERT INTO generation_assetcount (brand_id, campaign_id, run_id, state, is_sandbox, check_name, number)
SELECT brand_id, campaign_id, run_id, state, is_sandbox, check_name, sum(sign)
FROM (
    SELECT brand_id, campaign_id, run_id, state, is_sandbox, '' AS check_name, sign FROM moved
    UNION ALL
    SELECT brand_id, campaign_id, run_id, state, is_sandbox, 'any', sign
    FROM moved JOIN generation_assetversion v ON v.id = moved.current_version_id
    WHERE v.worst_outcome <> 'pass'
    UNION ALL
    SELECT brand_id, campaign_id, run_id, state, is_sandbox, f.check_name, sign
    FROM moved JOIN generation_finding f ON f.version_id = moved.current_version_id
    WHERE f.outcome <> 'pass'
) counted
GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(sign) <> 0;
"""
# Findings of a version that is current already. Usually it becomes current later, and then the asset's trigger counts.
_FINDINGS = """
WITH moved AS (ROWS)
INSERT INTO generation_assetcount (brand_id, campaign_id, run_id, state, is_sandbox, check_name, number)
SELECT a.brand_id, a.campaign_id, c.run_id, a.state, a.is_sandbox, moved.check_name, sum(sign)
FROM moved
JOIN generation_asset a ON a.current_version_id = moved.version_id
JOIN generation_cell c ON c.id = a.cell_id
WHERE moved.outcome <> 'pass'
GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(sign) <> 0;
"""


STATEMENTS = {"asset": _ASSETS, "finding": _FINDINGS}
TRIGGERS = {
    f"count_{change}_{name}s": (f"generation_{name}", event, statement.replace("ROWS", rows))
    for name, statement in STATEMENTS.items()
    for change, (event, rows) in triggers.SIGNED_ROWS.items()
}
FILL = _ASSETS.replace("ROWS", "SELECT *, 1 AS sign FROM generation_asset")


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0006_photo_rights"),
        ("core", "0004_order_due_notices"),
        ("generation", "0005_marked_file_of_rendition"),
    ]

    operations = [
        migrations.CreateModel(
            name="AssetCount",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("making", "Making"),
                            ("failed", "Failed"),
                            ("in_review", "In Review"),
                            ("revising", "Revising"),
                            ("approved", "Approved"),
                            ("rejected", "Rejected"),
                            ("stale", "Stale"),
                            ("revoked", "Revoked"),
                            ("superseded", "Superseded"),
                        ],
                        max_length=10,
                    ),
                ),
                ("is_sandbox", models.BooleanField()),
                ("check_name", models.CharField(blank=True, max_length=40)),
                (
                    "brand",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="core.brand",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="generation.run",
                    ),
                ),
                (
                    "campaign",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="campaigns.campaign",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "indexes": [
                    models.Index(fields=["brand", "check_name", "campaign"], name="asset_count_brand"),
                    models.Index(fields=["campaign"], name="asset_count_campaign"),
                    models.Index(fields=["run"], name="asset_count_run"),
                ],
            },
        ),
        migrations.RunSQL(
            [*(triggers.create(name, *parts) for name, parts in TRIGGERS.items()), FILL],
            [triggers.drop(name) for name in TRIGGERS],
        ),
    ]
