import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0012_names_tell_outputs_apart"),
    ]

    operations = [
        migrations.AddField(
            model_name="importchange",
            name="subject_updated_at",
            field=models.DateTimeField(default=django.utils.timezone.now),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="importissue",
            name="cell",
            field=models.CharField(
                blank=True, help_text="A14, as a spreadsheet names it, or a path in JSON", max_length=200
            ),
        ),
    ]
