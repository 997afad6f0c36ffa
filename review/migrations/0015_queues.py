"""The queues of the queue page: of a run, with findings and made again, with counts that the tasks' triggers keep."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

FILL_TASKS = """
UPDATE review_reviewtask t SET has_problem = true
WHERE EXISTS (SELECT FROM generation_assetproblem p WHERE p.asset_id = t.asset_id);
SET CONSTRAINTS ALL IMMEDIATE
"""
# ROWS: the changed tasks, each with a sign: 1 for what is now, -1 for what was before.
_BY_HOUR = """
INSERT INTO review_taskcount (brand_id, stage, deciders, due_hour, number)
SELECT brand_id, stage, deciders, coalesce(floor(extract(epoch FROM due_at) / 3600)::int, 2000000000), sum(sign)
FROM (ROWS) tasks
WHERE state = 'open'
GROUP BY 1, 2, 3, 4 HAVING sum(sign) <> 0;
"""
_BY_RUN = """
INSERT INTO review_runtaskcount (brand_id, run_id, stage, deciders, has_problem, is_again, number)
SELECT brand_id, run_id, stage, deciders, has_problem, round > 1, sum(sign)
FROM (ROWS) tasks
WHERE state = 'open'
GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(sign) <> 0;
"""
ADDED, REMOVED = "SELECT *, 1 AS sign FROM new_rows", "SELECT *, -1 AS sign FROM old_rows"
CHANGES = {"added": ADDED, "changed": f"{ADDED} UNION ALL {REMOVED}", "removed": REMOVED}


def _functions(counts):
    return [
        f"CREATE OR REPLACE FUNCTION count_{change}_tasks() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {counts.replace('ROWS', rows)} RETURN NULL; END $$"
        for change, rows in CHANGES.items()
    ]


FILL_COUNTS = _BY_RUN.replace("ROWS", "SELECT *, 1 AS sign FROM review_reviewtask")


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0004_order_due_notices"),
        ("generation", "0007_asset_problems"),
        ("review", "0014_failed_deliveries"),
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
        migrations.AddField(
            model_name="reviewtask",
            name="has_problem",
            field=models.BooleanField(
                db_default=False, default=False, help_text="a check of its version found something"
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
        migrations.RunSQL([FILL_TASKS, *_functions(_BY_HOUR + _BY_RUN), FILL_COUNTS], _functions(_BY_HOUR)),
    ]
