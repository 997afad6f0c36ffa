"""Take logins and queries out of the addresses in stored sentences: refusals, errors, notices, kept answers.

Events stay as they are: they are sealed. docs/operations.md says how an operator removes a secret from them.
"""

from typing import Any

from django.db import migrations

from campaigns.fetching import plain, shown_settings

SENTENCES = (
    ("campaigns", "FeedSource", ("error",)),
    ("campaigns", "ReferencePhoto", ("notes",)),
    ("campaigns", "ImportIssue", ("value", "message")),
    ("campaigns", "Notice", ("sentence",)),
    ("campaigns", "StoredResponse", ("body",)),
    ("generation", "EndpointStanding", ("last_error",)),
    ("generation", "Job", ("error",)),
    ("generation", "Attempt", ("message", "details")),
    ("review", "Destination", ("disabled_reason",)),
    ("review", "Delivery", ("error",)),
    ("review", "DeliveryAttempt", ("message",)),
)


def hide(apps: Any, schema_editor: Any) -> None:
    for app, name, fields in SENTENCES:
        model = apps.get_model(app, name)
        for field in fields:
            for row in model.objects.filter(**{f"{field}__regex": "://"}).iterator(chunk_size=1000):
                hidden = shown_settings(getattr(row, field)) if field == "value" else plain(getattr(row, field))
                if hidden != getattr(row, field):
                    model.objects.filter(pk=row.pk).update(**{field: hidden})


class Migration(migrations.Migration):
    dependencies = [
        ("review", "0004_sealed_secrets"),
        ("generation", "0021_found_rates"),
        ("campaigns", "0020_studio"),
    ]

    operations = [migrations.RunPython(hide, migrations.RunPython.noop)]
