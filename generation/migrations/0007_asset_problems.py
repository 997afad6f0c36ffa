"""The assets whose current version has a problem, kept by triggers, and indexes of the library."""

import django.db.models.deletion
from django.db import migrations, models

from core import triggers

_NOTE = """
INSERT INTO generation_assetproblem (asset_id, brand_id, check_name)
SELECT a.id, a.brand_id, f.check_name
FROM (ASSETS) changed
JOIN generation_asset a USING (id)
JOIN generation_finding f ON f.version_id = a.current_version_id AND f.outcome <> 'pass'
UNION ALL
SELECT a.id, a.brand_id, 'any'
FROM (ASSETS) changed
JOIN generation_asset a USING (id)
JOIN generation_assetversion v ON v.id = a.current_version_id AND v.worst_outcome <> 'pass';
"""
# ASSETS: the ids of the assets that have another current version, or whose findings have changed.
_FORGET = "DELETE FROM generation_assetproblem p USING (ASSETS) changed WHERE p.asset_id = changed.id;"
_OF_FINDINGS = "SELECT DISTINCT a.id FROM ROWS JOIN generation_asset a ON a.current_version_id = ROWS.version_id"
_SWITCHED = """
    SELECT id FROM new_rows JOIN old_rows USING (id)
    WHERE new_rows.current_version_id IS DISTINCT FROM old_rows.current_version_id
"""


CHANGED_ASSETS = {
    "added_assets": ("generation_asset", "INSERT", "SELECT id FROM new_rows WHERE current_version_id IS NOT NULL"),
    "changed_assets": ("generation_asset", "UPDATE", _SWITCHED),
    "added_findings": ("generation_finding", "INSERT", _OF_FINDINGS.replace("ROWS", "new_rows")),
    "changed_findings": ("generation_finding", "UPDATE", _OF_FINDINGS.replace("ROWS", "new_rows")),
    "removed_findings": ("generation_finding", "DELETE", _OF_FINDINGS.replace("ROWS", "old_rows")),
}
TRIGGERS = {
    f"note_problems_of_{name}": (table, event, (_FORGET + _NOTE).replace("ASSETS", assets))
    for name, (table, event, assets) in CHANGED_ASSETS.items()
}
FILL = _NOTE.replace("ASSETS", "SELECT id FROM generation_asset")


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0006_photo_rights"),
        ("core", "0004_order_due_notices"),
        ("generation", "0006_asset_counts"),
    ]

    operations = [
        migrations.CreateModel(
            name="AssetProblem",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("check_name", models.CharField(max_length=40)),
            ],
            options={
                "ordering": ["-asset"],
            },
        ),
        migrations.RemoveIndex(
            model_name="asset",
            name="asset_campaign_state",
        ),
        migrations.AlterField(
            model_name="asset",
            name="subject",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="assets",
                to="campaigns.subject",
            ),
        ),
        migrations.AddIndex(
            model_name="asset",
            index=models.Index(fields=["campaign", "state", "-id"], name="asset_campaign_state"),
        ),
        migrations.AddIndex(
            model_name="asset",
            index=models.Index(fields=["subject", "-id"], name="asset_of_subject"),
        ),
        migrations.AddField(
            model_name="assetproblem",
            name="asset",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="problems",
                to="generation.asset",
            ),
        ),
        migrations.AddField(
            model_name="assetproblem",
            name="brand",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="core.brand",
            ),
        ),
        migrations.AddIndex(
            model_name="assetproblem",
            index=models.Index(fields=["brand", "check_name", "-asset"], name="asset_problem_newest"),
        ),
        migrations.RunSQL(
            [*(triggers.create(name, *parts) for name, parts in TRIGGERS.items()), FILL],
            [triggers.drop(name) for name in TRIGGERS],
        ),
    ]
