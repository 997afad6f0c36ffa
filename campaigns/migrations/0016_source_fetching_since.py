from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0015_photos_to_fetch"),
    ]

    operations = [
        migrations.AddField(
            model_name="feedsource",
            name="fetching_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
