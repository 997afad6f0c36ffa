from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0022_brand_time_zone")]

    operations = [
        migrations.AddField(
            "storedresponse",
            "rights",
            models.JSONField(help_text="[[action, brand id]] that the first request needed", null=True),
        ),
    ]
