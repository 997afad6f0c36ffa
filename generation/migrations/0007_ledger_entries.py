"""What several entries of the ledger are called."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("generation", "0006_hold_reasons")]

    operations = [
        migrations.AlterModelOptions(
            name="ledgerentry", options={"ordering": ["id"], "verbose_name_plural": "ledger entries"}
        ),
    ]
