"""Notices become leased rows: their mail is the work. Those that are still to be mailed are due as before."""

from datetime import timedelta
from typing import Any

from django.db import migrations, models
from django.utils import timezone


def make_due(apps: Any, schema_editor: Any) -> None:
    created = models.Q(created_at__gte=timezone.now() - timedelta(days=1))
    unmailed = apps.get_model("core", "Notice").objects.filter(created, read_at=None, mailed_at=None)
    unmailed.update(due_at=models.F("created_at") + timedelta(minutes=2))


class Migration(migrations.Migration):
    dependencies = [("core", "0002_append_only")]

    operations = [
        migrations.RemoveIndex("notice", "notice_to_mail"),
        migrations.AddField(
            "notice",
            "due_at",
            models.DateTimeField(
                null=True,
                blank=True,
                editable=False,
                help_text="the next attempt; during one the end of its lease; null: nothing to do",
            ),
        ),
        migrations.AddField("notice", "lease_token", models.UUIDField(null=True, blank=True, editable=False)),
        migrations.AddField(
            "notice",
            "attempts",
            models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="since the work was requested or last succeeded"
            ),
        ),
        migrations.AddField(
            "notice",
            "deaths",
            models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="attempts in a row whose process died or was too slow"
            ),
        ),
        migrations.AddIndex(
            "notice",
            models.Index(fields=["due_at"], name="notice_to_mail", condition=models.Q(due_at__isnull=False)),
        ),
        migrations.RunPython(make_due, migrations.RunPython.noop),
    ]
