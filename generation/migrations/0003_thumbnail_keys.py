"""Let the sweeper find a thumbnail's master by the thumbnail's key."""

from django.db import migrations

SQL = """
CREATE INDEX master_thumbnail_keys ON generation_master
    USING gin (jsonb_path_query_array(thumbnails, '$.*') jsonb_path_ops);
"""


class Migration(migrations.Migration):
    dependencies = [("generation", "0002_hot_table")]

    operations = [migrations.RunSQL(SQL, "DROP INDEX master_thumbnail_keys")]
