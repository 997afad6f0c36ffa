"""Deliveries become leased rows: `due_at` is also the end of a lease, and dead attempts are counted."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("review", "0002_frozen_decisions")]

    operations = [
        migrations.RemoveIndex("delivery", "delivery_due"),
        migrations.RenameField("delivery", "next_attempt_at", "due_at"),
        migrations.RemoveField("delivery", "lease_expires_at"),
        migrations.AlterField(
            "delivery",
            "due_at",
            models.DateTimeField(
                null=True,
                blank=True,
                editable=False,
                help_text="the next attempt; during one the end of its lease; null: nothing to do",
            ),
        ),
        migrations.AlterField("delivery", "lease_token", models.UUIDField(null=True, blank=True, editable=False)),
        migrations.AlterField(
            "delivery",
            "attempts",
            models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="since the work was requested or last succeeded"
            ),
        ),
        migrations.AddField(
            "delivery",
            "deaths",
            models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="attempts in a row whose process died or was too slow"
            ),
        ),
        migrations.AddIndex(
            "delivery",
            models.Index(fields=["due_at"], name="delivery_due", condition=models.Q(due_at__isnull=False)),
        ),
    ]
