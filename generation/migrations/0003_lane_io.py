"""Worker processes may serve the lane io."""

from django.db import migrations, models

LANES = [(name, name.capitalize()) for name in ("gpu", "cloud", "cpu", "delivery", "io", "housekeeping")]


class Migration(migrations.Migration):
    dependencies = [("generation", "0002_storage_and_triggers")]

    operations = [
        migrations.AlterField("endpoint", "lane", models.CharField(choices=LANES, default="gpu", max_length=12)),
        migrations.AlterField("job", "lane", models.CharField(choices=LANES, max_length=12)),
        migrations.AlterField("laneshare", "lane", models.CharField(choices=LANES, max_length=12)),
    ]
