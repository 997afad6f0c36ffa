"""A version holds its style's words itself; asking a lead and the answer may change on a version that was used."""

from django.db import migrations

THAW = "DROP TRIGGER used_version_frozen ON campaigns_promptversion;"
TAKE_OVER = """
UPDATE campaigns_promptversion v SET style_text = s.text, style_negative = s.negative
FROM campaigns_stylepreset s WHERE s.id = v.style_id;
"""
FREEZE = """
CREATE TRIGGER used_version_frozen BEFORE UPDATE ON campaigns_promptversion
    FOR EACH ROW WHEN (OLD.used_at IS NOT NULL)
    EXECUTE FUNCTION proofline_freeze_row({free});
"""
NOW = FREEZE.format(free="'status', 'asked_by_id', 'asked_at', 'answer'")
BEFORE = FREEZE.format(free="'status'")


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0010_prompt_work")]

    operations = [
        migrations.RunSQL(THAW, BEFORE),
        migrations.RunSQL(TAKE_OVER, migrations.RunSQL.noop),
        migrations.RunSQL(NOW, THAW),
    ]
