"""The columns and indexes of the review queue, and counts of open tasks, both kept by triggers."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from core import triggers

FILL_TASKS = """
UPDATE review_reviewtask t SET
    run_id = c.run_id,
    product_key = s.key,
    deciders = coalesce(
        (SELECT array_agg(DISTINCT d.decided_by_id ORDER BY d.decided_by_id)
         FROM review_decisionslot slot JOIN review_decision d ON d.id = slot.decision_id WHERE slot.task_id = t.id), '{}'
    ),
    has_problem = EXISTS (SELECT FROM generation_assetproblem p WHERE p.asset_id = t.asset_id)
FROM generation_asset a
JOIN generation_cell c ON c.id = a.cell_id
JOIN campaigns_subject s ON s.id = a.subject_id
WHERE a.id = t.asset_id;
SET CONSTRAINTS ALL IMMEDIATE
"""

# ROWS: the changed slots. The row of a task is written only if its deciders are others now.
_DECIDERS = """
UPDATE review_reviewtask t SET deciders = now.deciders
FROM (
    SELECT s.task_id,
           coalesce(array_agg(DISTINCT d.decided_by_id ORDER BY d.decided_by_id) FILTER (WHERE d.id IS NOT NULL), '{}')
               AS deciders
    FROM review_decisionslot s LEFT JOIN review_decision d ON d.id = s.decision_id
    WHERE s.task_id IN (SELECT task_id FROM ROWS)
    GROUP BY s.task_id
) now
WHERE t.id = now.task_id AND t.deciders <> now.deciders;
"""
_FILLED = "(SELECT task_id FROM new_rows WHERE decision_id IS NOT NULL) filled"
# ROWS: the changed tasks, each with a sign.
_COUNTS = """
INSERT INTO review_taskcount (brand_id, stage, deciders, due_hour, number)
SELECT brand_id, stage, deciders, coalesce(floor(extract(epoch FROM due_at) / 3600)::int, 2000000000), sum(sign)
FROM (ROWS) tasks
WHERE state = 'open'
GROUP BY 1, 2, 3, 4 HAVING sum(sign) <> 0;
INSERT INTO review_runtaskcount (brand_id, run_id, stage, deciders, has_problem, is_again, number)
SELECT brand_id, run_id, stage, deciders, has_problem, round > 1, sum(sign)
FROM (ROWS) tasks
WHERE state = 'open'
GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(sign) <> 0;
"""
TRIGGERS = {
    f"count_{change}_tasks": ("review_reviewtask", event, _COUNTS.replace("ROWS", rows))
    for change, (event, rows) in triggers.SIGNED_ROWS.items()
} | {
    f"note_deciders_of_{change}_slots": ("review_decisionslot", event, _DECIDERS.replace("ROWS", rows))
    for change, event, rows in (
        ("added", "INSERT", _FILLED),
        ("changed", "UPDATE", "new_rows"),
        ("removed", "DELETE", "old_rows"),
    )
}
FILL_COUNTS = _COUNTS.replace("ROWS", "SELECT *, 1 AS sign FROM review_reviewtask")


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0004_order_due_notices"),
        ("generation", "0007_asset_problems"),
        ("review", "0012_marks_by_destination"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="RunTaskCount",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
                ("stage", models.SlugField(db_index=False)),
                ("deciders", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                ("has_problem", models.BooleanField()),
                ("is_again", models.BooleanField()),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="TaskCount",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
                ("stage", models.SlugField(db_index=False)),
                ("deciders", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                ("due_hour", models.IntegerField()),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.RemoveIndex(
            model_name="reviewtask",
            name="task_queue",
        ),
        migrations.AddField(
            model_name="reviewtask",
            name="deciders",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(), db_default=[], default=list, editable=False, size=None
            ),
        ),
        migrations.AddField(
            model_name="reviewtask",
            name="has_problem",
            field=models.BooleanField(
                db_default=False, default=False, help_text="a check of its version found something"
            ),
        ),
        migrations.AddField(
            model_name="reviewtask",
            name="product_key",
            field=models.CharField(default="", max_length=255),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="reviewtask",
            name="run",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="generation.run",
            ),
        ),
        migrations.RunSQL(FILL_TASKS, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="reviewtask",
            name="run",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="generation.run"
            ),
        ),
        migrations.AlterField(
            model_name="reviewtask",
            name="claimed_by",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="reviewtask",
            name="escalated_to",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="the campaign manager who decides how to go on after the last round",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("observed", "failed")),
                fields=["destination", "-changed_at"],
                name="delivery_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                models.F("brand"),
                models.F("stage"),
                models.F("deciders"),
                models.OrderBy(models.F("skipped_at"), nulls_first=True),
                models.OrderBy(models.F("due_at"), nulls_last=True),
                models.OrderBy(models.F("run_id")),
                models.OrderBy(models.F("product_key")),
                models.OrderBy(models.F("id")),
                condition=models.Q(("state", "open")),
                name="task_queue",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                models.F("brand"),
                models.F("stage"),
                models.F("deciders"),
                models.F("run"),
                models.OrderBy(models.F("skipped_at"), nulls_first=True),
                models.OrderBy(models.F("due_at"), nulls_last=True),
                models.OrderBy(models.F("run_id")),
                models.OrderBy(models.F("product_key")),
                models.OrderBy(models.F("id")),
                condition=models.Q(("state", "open")),
                name="task_queue_of_run",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                models.F("brand"),
                models.F("stage"),
                models.F("deciders"),
                models.OrderBy(models.F("skipped_at"), nulls_first=True),
                models.OrderBy(models.F("due_at"), nulls_last=True),
                models.OrderBy(models.F("run_id")),
                models.OrderBy(models.F("product_key")),
                models.OrderBy(models.F("id")),
                condition=models.Q(("has_problem", True), ("state", "open")),
                name="task_queue_problems",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                models.F("brand"),
                models.F("stage"),
                models.F("deciders"),
                models.OrderBy(models.F("skipped_at"), nulls_first=True),
                models.OrderBy(models.F("due_at"), nulls_last=True),
                models.OrderBy(models.F("run_id")),
                models.OrderBy(models.F("product_key")),
                models.OrderBy(models.F("id")),
                condition=models.Q(("round__gt", 1), ("state", "open")),
                name="task_queue_again",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(condition=models.Q(("state", "open")), fields=["brand", "due_at"], name="task_due"),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                condition=models.Q(("claimed_until__isnull", False), ("state", "open")),
                fields=["brand", "claimed_until"],
                name="task_claimed",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                condition=models.Q(("state", "open")), fields=["brand", "opened_at"], name="task_opened"
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                condition=models.Q(("claimed_by__isnull", False)),
                fields=["claimed_by", "claimed_until"],
                name="task_claims",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewtask",
            index=models.Index(
                condition=models.Q(("escalated_to__isnull", False)),
                fields=["escalated_to", "brand", "id"],
                name="task_escalated",
            ),
        ),
        migrations.AddField(
            model_name="runtaskcount",
            name="brand",
            field=models.ForeignKey(
                db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="core.brand"
            ),
        ),
        migrations.AddField(
            model_name="runtaskcount",
            name="run",
            field=models.ForeignKey(
                db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="generation.run"
            ),
        ),
        migrations.AddField(
            model_name="taskcount",
            name="brand",
            field=models.ForeignKey(
                db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="core.brand"
            ),
        ),
        migrations.RunSQL(
            [*(triggers.create(name, *parts) for name, parts in TRIGGERS.items()), FILL_COUNTS],
            [triggers.drop(name) for name in TRIGGERS],
        ),
    ]
