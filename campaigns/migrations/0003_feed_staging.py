"""Issues know their cell, imports count every cause, and staging leaves no trace in the write-ahead log."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0002_append_only")]

    operations = [
        migrations.AddField(
            model_name="feedimport",
            name="issue_counts",
            field=models.JSONField(default=dict, help_text="cause -> how many, all counted, also those not stored"),
        ),
        migrations.AddField(
            model_name="importissue",
            name="cell",
            field=models.CharField(blank=True, default="", help_text="A14, as a spreadsheet names it", max_length=12),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="importissue",
            name="column",
            field=models.CharField(help_text="its heading as the file writes it", max_length=200),
        ),
        migrations.AddField(
            model_name="stagedrow",
            name="staged_at",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
        # Staged rows are copied again from the file after a crash; logging them would double the writes of an import.
        migrations.RunSQL("ALTER TABLE campaigns_stagedrow SET UNLOGGED", "ALTER TABLE campaigns_stagedrow SET LOGGED"),
    ]
