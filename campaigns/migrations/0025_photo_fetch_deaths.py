from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0024_brand_stale_use"),
    ]

    operations = [
        migrations.AddField(
            model_name="referencephoto",
            name="fetch_deaths",
            field=models.PositiveSmallIntegerField(
                db_default=0, default=0, help_text="fetches whose end nobody wrote down; after three it is set aside"
            ),
        ),
    ]
