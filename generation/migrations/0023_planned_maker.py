"""What a job was planned for is recorded beside its fingerprint, and a job may be held because that has changed."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("generation", "0022_pinned_inputs"),
    ]

    operations = [
        migrations.AddField(
            model_name="jobspec",
            name="maker",
            field=models.JSONField(
                db_default={}, default=dict, help_text="engine, model, revision and tier it is planned for"
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="hold_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("not_released", "Not Released"),
                    ("paused", "Paused"),
                    ("quota", "Quota"),
                    ("in_doubt", "In Doubt"),
                    ("changed", "Changed"),
                ],
                max_length=40,
            ),
        ),
    ]
