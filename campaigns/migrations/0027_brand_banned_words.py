"""What happens when a prompt has a word that the brand guide bans."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0026_long_keys_and_encoding")]

    operations = [
        migrations.AddField(
            model_name="brand",
            name="banned_words",
            field=models.CharField(
                choices=[("warn", "Warn in the preview of a run"), ("block", "Refuse the run")],
                default="warn",
                help_text="what happens when a prompt has a word that the brand guide bans; try-outs are never refused",
                max_length=5,
            ),
        ),
    ]
