"""Images that a run leaves out, by cause."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("generation", "0023_planned_maker")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="left_out",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="images that were asked for and cannot be made, by cause: services/left_out.py",
            ),
        ),
    ]
