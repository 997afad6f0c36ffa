from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0005_photo_roles_and_removal"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(fields=["user", "brand"], name="notice_unread", condition=models.Q(read_at=None)),
        ),
    ]
