"""Who published a guide version and when; a published version cannot go, nor can its pictures change."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

FROZEN = """
CREATE FUNCTION proofline_refuse_guide_picture() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched bigint[] := ARRAY[]::bigint[];
BEGIN
    IF TG_OP <> 'INSERT' THEN touched := touched || OLD.guide_id; END IF;
    IF TG_OP <> 'DELETE' THEN touched := touched || NEW.guide_id; END IF;
    IF EXISTS (SELECT 1 FROM campaigns_guideversion WHERE id = ANY (touched) AND status = 'published') THEN
        RAISE EXCEPTION 'the pictures of a published guide are frozen: % refused', TG_OP
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER published_pictures_frozen BEFORE INSERT OR UPDATE OR DELETE ON campaigns_guidepicture
    FOR EACH ROW EXECUTE FUNCTION proofline_refuse_guide_picture();
CREATE TRIGGER published_guide_stays BEFORE DELETE ON campaigns_guideversion
    FOR EACH ROW WHEN (OLD.status = 'published') EXECUTE FUNCTION proofline_refuse_change();
"""
THAWED = """
DROP TRIGGER published_guide_stays ON campaigns_guideversion;
DROP FUNCTION proofline_refuse_guide_picture() CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0007_import_in_background"),
    ]

    operations = [
        migrations.AddField(
            model_name="guideversion",
            name="published_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="guideversion",
            name="published_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.RunSQL(FROZEN, THAWED),
    ]
