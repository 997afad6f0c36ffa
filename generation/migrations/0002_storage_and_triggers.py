"""Storage settings of hot tables, indexes on expressions, and rows that are frozen for good."""

from django.db import migrations

# The job table is narrow and changes often: vacuum it early and leave room for updates within a page.
HOT = """
ALTER TABLE generation_job SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE generation_laneshare SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
"""

# The sweeper finds a thumbnail's master by the thumbnail's key. Near-duplicates are found by index: the PDQ hash as
# bits, and an index on the colours of two central cells.
MASTERS = """
CREATE INDEX master_thumbnail_keys ON generation_master
    USING gin (jsonb_path_query_array(thumbnails, '$.*') jsonb_path_ops);
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

FROZEN = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON generation_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION proofline_refuse_change();
CREATE TRIGGER version_frozen BEFORE UPDATE ON generation_assetversion
    FOR EACH ROW EXECUTE FUNCTION proofline_freeze_row();
"""


class Migration(migrations.Migration):
    dependencies = [("generation", "0001_initial"), ("core", "0002_append_only")]

    operations = [migrations.RunSQL(sql, migrations.RunSQL.noop) for sql in (HOT, MASTERS, FROZEN)]
