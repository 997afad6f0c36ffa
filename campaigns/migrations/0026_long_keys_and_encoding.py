"""Keys of 255 characters, as Shopify allows for a handle, and the encoding that people chose for a file."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0025_photo_fetch_deaths")]

    operations = [
        migrations.AlterField("subject", "key", models.CharField(max_length=255)),
        migrations.AlterField("variant", "key", models.CharField(max_length=255)),
        migrations.AddField(
            "feedimport",
            "encoding",
            models.CharField(
                blank=True, default="", help_text="what people chose for a text that is not UTF-8", max_length=20
            ),
        ),
    ]
