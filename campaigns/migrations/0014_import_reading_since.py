from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0013_import_change_moment"),
    ]

    operations = [
        migrations.AddField(
            model_name="feedimport",
            name="reading_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
