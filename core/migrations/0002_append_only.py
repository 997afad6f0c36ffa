"""The database itself refuses to change the audit trail, and offers the other apps functions that freeze rows."""

from django.db import migrations

FUNCTIONS = """
CREATE FUNCTION proofline_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

-- Arguments: the columns that may still change. Everything else of the row is frozen.
CREATE FUNCTION proofline_freeze_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_row jsonb := to_jsonb(OLD);
    new_row jsonb := to_jsonb(NEW);
    free text;
BEGIN
    FOREACH free IN ARRAY coalesce(TG_ARGV, '{}') LOOP
        old_row := old_row - free;
        new_row := new_row - free;
    END LOOP;
    IF old_row IS DISTINCT FROM new_row THEN
        RAISE EXCEPTION '% % is frozen: make a new one instead', TG_TABLE_NAME, OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""

APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION proofline_refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION proofline_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]

    operations = [
        migrations.RunSQL(
            FUNCTIONS, "DROP FUNCTION proofline_refuse_change() CASCADE; DROP FUNCTION proofline_freeze_row() CASCADE;"
        ),
        migrations.RunSQL(APPEND_ONLY.format(table="core_event"), migrations.RunSQL.noop),
        migrations.RunSQL(APPEND_ONLY.format(table="core_sealedevent"), migrations.RunSQL.noop),
    ]
