"""Let near-duplicates be found by index: PDQ as bits, the colour grid, and an index on two of its central cells."""

from django.db import migrations, models

SQL = """
ALTER TABLE generation_master
    ADD COLUMN pdq_bits bit(256)
        GENERATED ALWAYS AS (CASE WHEN pdq = '' THEN NULL ELSE ('x' || pdq)::bit(256) END) STORED,
    ADD CONSTRAINT master_colours_whole CHECK (length(colours) = 48);
CREATE INDEX master_alike ON generation_master (
    brand_id,
    get_byte(colours, 15), get_byte(colours, 16), get_byte(colours, 17),
    get_byte(colours, 30), get_byte(colours, 31), get_byte(colours, 32)
) WHERE pdq <> '';
"""
BACK = """
DROP INDEX master_alike;
ALTER TABLE generation_master DROP CONSTRAINT master_colours_whole, DROP COLUMN pdq_bits;
"""


class Migration(migrations.Migration):
    dependencies = [("generation", "0004_planning_columns")]

    operations = [
        migrations.AddField(
            model_name="master",
            name="colours",
            field=models.BinaryField(
                default=bytes(48), help_text="4 × 4 cells of L, a, b: tells look-alikes of other colours"
            ),
        ),
        migrations.AlterField(
            model_name="master",
            name="thumbnails",
            field=models.JSONField(
                default=dict, help_text='{"256" | "512" | "1024": storage key}: long edge in pixels'
            ),
        ),
        migrations.RunSQL(SQL, BACK),
    ]
