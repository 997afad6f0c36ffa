"""What images rest on, pinned; for the images that there are, as it is on the day of this migration.

What changed before that day is not known: approvals given by then rest on the inputs as they are now.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from campaigns.prompts import PromptSource, placeholders

# As generation.services.inputs pins it, for all cells of one prompt version. The value of a placeholder that an axis
# fills comes from no feed. The photo is the one whose file, or accepted cut-out, the frozen spec names.
PIN = """
INSERT INTO generation_pinnedinputs (cell_id, subject_id, feed_values, photo_pk, photo_sha256, cutout_sha256)
SELECT c.id, c.subject_id,
       (SELECT coalesce(jsonb_object_agg(e.key,
            CASE WHEN e.key IN ('key', 'sku') THEN s.key ELSE coalesce(nullif(s.attributes ->> e.key, ''),
                CASE e.key WHEN 'name' THEN s.name WHEN 'kind' THEN s.kind ELSE '' END) END), '{}')
        FROM unnest(%(names)s::text[]) AS e (key) WHERE NOT jsonb_exists(c.axis_values, e.key)),
       used.photo_pk, coalesce(used.photo_sha256, ''), coalesce(used.cutout_sha256, '')
FROM generation_cell c JOIN campaigns_subject s ON s.id = c.subject_id JOIN generation_run r ON r.id = c.run_id
LEFT JOIN LATERAL (
    SELECT f.id AS photo_pk, f.sha256 AS photo_sha256,
           CASE WHEN k.sha256 = ANY(named.files) THEN k.sha256 ELSE '' END AS cutout_sha256
    FROM (
        SELECT array_agg(DISTINCT i.value ->> 'sha256') AS files
        FROM generation_jobspec j CROSS JOIN LATERAL jsonb_each(coalesce(j.spec -> 'images', '{}')) AS i (role, value)
        WHERE j.cell_id = c.id AND j.round = 1
    ) named
    JOIN campaigns_referencephoto f ON f.subject_id = c.subject_id AND f.status = 'ready'
    LEFT JOIN campaigns_cutout k ON k.photo_id = f.id AND k.is_accepted
    WHERE f.sha256 = ANY(named.files) OR k.sha256 = ANY(named.files)
    ORDER BY f.position, f.id LIMIT 1
) used ON true
WHERE r.prompt_version_id = %(version)s
"""


def pin(apps, schema_editor):
    versions = apps.get_model("campaigns", "PromptVersion").objects.filter(runs__isnull=False).distinct()
    with schema_editor.connection.cursor() as cursor:
        for version in versions.iterator():
            source = PromptSource(text=version.text, negative=version.negative, parameters=version.parameters)
            names = sorted({slot.name for slot in placeholders(source)} - {"campaign"})
            cursor.execute(PIN, {"names": names, "version": version.pk})


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0024_brand_stale_use"),
        ("generation", "0021_found_rates"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="StaleAsset",
            fields=[
                (
                    "asset",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="staleness",
                        serialize=False,
                        to="generation.asset",
                    ),
                ),
                ("causes", models.JSONField(default=list)),
                (
                    "is_published",
                    models.BooleanField(default=True, help_text="its approved files stay in use until it is decided"),
                ),
                ("began_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["asset"],
            },
        ),
        migrations.CreateModel(
            name="PinnedInputs",
            fields=[
                (
                    "cell",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="inputs",
                        serialize=False,
                        to="generation.cell",
                    ),
                ),
                ("feed_values", models.JSONField(default=dict)),
                ("photo_pk", models.BigIntegerField(null=True)),
                ("photo_sha256", models.CharField(blank=True, max_length=64)),
                ("cutout_sha256", models.CharField(blank=True, max_length=64)),
                (
                    "subject",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="campaigns.subject",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "pinned inputs",
                "ordering": ["cell"],
                "indexes": [models.Index(fields=["subject"], name="inputs_of_subject")],
            },
        ),
        migrations.CreateModel(
            name="StaleCandidate",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("batch", models.UUIDField()),
                ("cause", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "asset",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="generation.asset",
                    ),
                ),
                (
                    "caused_by",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "indexes": [models.Index(fields=["batch", "asset"], name="stale_candidate_next")],
            },
        ),
        migrations.RunPython(pin, migrations.RunPython.noop),
    ]
