"""Shopify allows 255 characters for a handle."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0022_brand_time_zone")]

    operations = [
        migrations.AlterField("subject", "key", models.CharField(max_length=255)),
        migrations.AlterField("variant", "key", models.CharField(max_length=255)),
    ]
