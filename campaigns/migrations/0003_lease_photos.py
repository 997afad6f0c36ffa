"""Photos to fetch are leased work: only pending ones with an address have a time at which they are due."""

from django.db import migrations, models

DUE = """
UPDATE campaigns_referencephoto SET due_at = now()
WHERE status = 'pending' AND source ~* '^https?://' AND due_at IS NULL;
UPDATE campaigns_referencephoto SET due_at = NULL
WHERE due_at IS NOT NULL AND NOT (status = 'pending' AND source ~* '^https?://');
"""


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0002_frozen_versions")]

    operations = [
        migrations.RemoveIndex(model_name="referencephoto", name="photo_pending"),
        migrations.RemoveIndex(model_name="referencephoto", name="photo_to_fetch"),
        migrations.RenameField("referencephoto", "fetch_attempts", "attempts"),
        migrations.RenameField("referencephoto", "fetch_deaths", "deaths"),
        migrations.RenameField("referencephoto", "next_fetch_at", "due_at"),
        migrations.AddField(
            model_name="referencephoto",
            name="lease_token",
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="referencephoto",
            name="attempts",
            field=models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="since the work was requested or last succeeded"
            ),
        ),
        migrations.AlterField(
            model_name="referencephoto",
            name="deaths",
            field=models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="attempts in a row whose process died or was too slow"
            ),
        ),
        migrations.AlterField(
            model_name="referencephoto",
            name="due_at",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="the next attempt; during one the end of its lease; null: nothing to do",
                null=True,
            ),
        ),
        migrations.RunSQL(DUE, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="referencephoto",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)), fields=["due_at", "id"], name="photo_to_fetch"
            ),
        ),
    ]
