"""Waiting imports are leased work."""

from django.db import migrations, models

DUE = "UPDATE campaigns_feedimport SET due_at = now() WHERE status = 'waiting'"


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0004_lease_sources")]

    operations = [
        migrations.RemoveIndex(model_name="feedimport", name="import_waiting"),
        migrations.AddField(
            model_name="feedimport",
            name="due_at",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="the next attempt; during one the end of its lease; null: nothing to do",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="feedimport",
            name="lease_token",
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="feedimport",
            name="attempts",
            field=models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="since the work was requested or last succeeded"
            ),
        ),
        migrations.AddField(
            model_name="feedimport",
            name="deaths",
            field=models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="attempts in a row whose process died or was too slow"
            ),
        ),
        migrations.RunSQL(DUE, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="feedimport",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)), fields=["due_at", "id"], name="import_waiting"
            ),
        ),
    ]
