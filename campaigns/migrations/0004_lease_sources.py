"""Feed sources are leased work; the time of a fetch that is running follows from its lease."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0003_lease_photos")]

    operations = [
        migrations.RemoveIndex(model_name="feedsource", name="source_due"),
        migrations.RenameField("feedsource", "next_fetch_at", "due_at"),
        migrations.RemoveField("feedsource", "fetching_since"),
        migrations.AddField(
            model_name="feedsource",
            name="lease_token",
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="feedsource",
            name="attempts",
            field=models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="since the work was requested or last succeeded"
            ),
        ),
        migrations.AddField(
            model_name="feedsource",
            name="deaths",
            field=models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="attempts in a row whose process died or was too slow"
            ),
        ),
        migrations.AlterField(
            model_name="feedsource",
            name="due_at",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="the next attempt; during one the end of its lease; null: nothing to do",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="feedsource",
            index=models.Index(
                condition=models.Q(("is_enabled", True), ("kind", "url")), fields=["due_at", "id"], name="source_due"
            ),
        ),
    ]
