"""Secrets of destinations are stored encrypted; what is there is encrypted on the way."""

from typing import Any

from django.db import migrations, models

from campaigns import encryption


def seal(apps: Any, schema_editor: Any) -> None:
    for destination in apps.get_model("review", "Destination").objects.exclude(secret=""):
        destination.sealed_secret = encryption.encrypt(destination.secret)
        destination.save(update_fields=["sealed_secret"])


def unseal(apps: Any, schema_editor: Any) -> None:
    for destination in apps.get_model("review", "Destination").objects.exclude(sealed_secret=""):
        destination.secret = encryption.decrypt(destination.sealed_secret)
        destination.save(update_fields=["secret"])


class Migration(migrations.Migration):
    dependencies = [("review", "0003_queue_details")]

    operations = [
        migrations.AddField("destination", "sealed_secret", models.TextField(blank=True, default="", editable=False)),
        migrations.RunPython(seal, unseal),
        migrations.RemoveField("destination", "secret"),
        migrations.AlterField("destination", "sealed_secret", models.TextField(blank=True, editable=False)),
    ]
