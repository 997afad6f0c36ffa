"""A decision and a checklist version never change; only the time of a decision's consequences is filled in."""

from django.db import migrations

SQL = """
CREATE TRIGGER decision_frozen BEFORE UPDATE ON review_decision
    FOR EACH ROW EXECUTE FUNCTION proofline_freeze_row('consequences_at');
CREATE TRIGGER decision_kept BEFORE DELETE ON review_decision
    FOR EACH ROW EXECUTE FUNCTION proofline_refuse_change();
CREATE TRIGGER checklist_version_frozen BEFORE UPDATE ON review_checklistversion
    FOR EACH ROW EXECUTE FUNCTION proofline_freeze_row();
"""


class Migration(migrations.Migration):
    dependencies = [("review", "0001_initial"), ("core", "0002_append_only")]

    operations = [migrations.RunSQL(SQL, migrations.RunSQL.noop)]
