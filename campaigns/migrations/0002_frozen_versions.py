"""Used prompt versions and published guides are frozen; staged rows leave no trace in the write-ahead log."""

from django.db import migrations

FROZEN = """
CREATE TRIGGER used_version_frozen BEFORE UPDATE ON campaigns_promptversion
    FOR EACH ROW WHEN (OLD.used_at IS NOT NULL)
    EXECUTE FUNCTION proofline_freeze_row('status', 'asked_by_id', 'asked_at', 'answer');
CREATE TRIGGER published_guide_frozen BEFORE UPDATE ON campaigns_guideversion
    FOR EACH ROW WHEN (OLD.status = 'published') EXECUTE FUNCTION proofline_freeze_row();
CREATE TRIGGER published_guide_stays BEFORE DELETE ON campaigns_guideversion
    FOR EACH ROW WHEN (OLD.status = 'published') EXECUTE FUNCTION proofline_refuse_change();
CREATE FUNCTION proofline_refuse_guide_image() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched bigint[] := ARRAY[]::bigint[];
BEGIN
    IF TG_OP <> 'INSERT' THEN touched := touched || OLD.guide_id; END IF;
    IF TG_OP <> 'DELETE' THEN touched := touched || NEW.guide_id; END IF;
    IF EXISTS (SELECT 1 FROM campaigns_guideversion WHERE id = ANY (touched) AND status = 'published') THEN
        RAISE EXCEPTION 'the images of a published guide are frozen: % refused', TG_OP
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER published_images_frozen BEFORE INSERT OR UPDATE OR DELETE ON campaigns_guideimage
    FOR EACH ROW EXECUTE FUNCTION proofline_refuse_guide_image();
"""
THAWED = """
DROP FUNCTION proofline_refuse_guide_image() CASCADE;
DROP TRIGGER published_guide_stays ON campaigns_guideversion;
DROP TRIGGER published_guide_frozen ON campaigns_guideversion;
DROP TRIGGER used_version_frozen ON campaigns_promptversion;
"""


class Migration(migrations.Migration):
    dependencies = [("campaigns", "0001_initial"), ("core", "0002_append_only")]

    operations = [
        migrations.RunSQL(FROZEN, THAWED),
        # Staged rows are copied again from the file after a crash; logging them would double the writes of an import.
        migrations.RunSQL("ALTER TABLE campaigns_stagedrow SET UNLOGGED", "ALTER TABLE campaigns_stagedrow SET LOGGED"),
    ]
