import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("generation", "0019_standing_told"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="LocalModel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=120, unique=True)),
                ("path", models.CharField(max_length=500, unique=True)),
                ("family", models.CharField(max_length=20)),
                ("revision", models.CharField(max_length=64)),
                ("sha256", models.CharField(blank=True, max_length=64)),
                ("size_bytes", models.PositiveBigIntegerField()),
                ("licence", models.CharField(help_text="its name, and where its text is", max_length=200)),
                (
                    "usage_terms",
                    models.TextField(blank=True, help_text="what people must know who pick it; shown where they do"),
                ),
                ("is_usable", models.BooleanField(default=True)),
                ("registered_at", models.DateTimeField(auto_now_add=True)),
                (
                    "registered_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
                "indexes": [models.Index(fields=["revision"], name="localmodel_revision")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("sha256", ""), ("sha256__regex", "^[0-9a-f]{64}$"), _connector="OR"),
                        name="localmodel_sha256_hex",
                    )
                ],
            },
        ),
    ]
