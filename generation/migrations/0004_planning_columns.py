"""What a job was quoted at, whether a master was rejected, and since when a run's health is watched."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("generation", "0003_thumbnail_keys")]

    operations = [
        migrations.AddField(
            model_name="jobspec",
            name="quoted_cost",
            field=models.DecimalField(decimal_places=6, default=0, help_text="what the budget reserves", max_digits=10),
        ),
        migrations.AddField(
            model_name="master",
            name="was_rejected",
            field=models.BooleanField(default=False, help_text="a reviewer rejected it: never reused silently"),
        ),
        migrations.AddField(
            model_name="run",
            name="watched_from",
            field=models.DateTimeField(
                blank=True, help_text="release or last resume: older outputs do not pause the run again", null=True
            ),
        ),
    ]
