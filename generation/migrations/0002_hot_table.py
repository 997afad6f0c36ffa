"""The job table is narrow and hot: vacuum it early and leave room for in-page updates. What is frozen, stays."""

from django.db import migrations

SQL = """
ALTER TABLE generation_job SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE generation_laneshare SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON generation_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION proofline_refuse_change();
CREATE TRIGGER version_frozen BEFORE UPDATE ON generation_assetversion
    FOR EACH ROW EXECUTE FUNCTION proofline_freeze_row();
"""


class Migration(migrations.Migration):
    dependencies = [("generation", "0001_initial"), ("campaigns", "0002_append_only")]

    operations = [migrations.RunSQL(SQL, migrations.RunSQL.noop)]
