"""What happens to published images that went stale."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0023_stored_response_rights")]

    operations = [
        migrations.AddField(
            model_name="brand",
            name="stale_use",
            field=models.CharField(
                choices=[("keep", "Keep published until decided"), ("withdraw", "Take back at once")],
                default="keep",
                help_text="what happens to published images that went stale, until a person decides",
                max_length=8,
            ),
        ),
    ]
