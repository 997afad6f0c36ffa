"""The index of the search by parts of words, and the functions that it needs."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
from django.db import migrations, models

# An index calls a function without a search path, so the second cannot call the first.
_FOLDED = r"""
    ' ' || trim(regexp_replace(
        replace(lower(regexp_replace(normalize(TEXT, NFKD), '[\u0300-\u036f]+', '', 'g')), 'ß', 'ss'),
        '[^[:alnum:]]+', ' ', 'g'
    )) || ' '
"""
_FUNCTIONS = """
CREATE FUNCTION proofline_fold(words text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT FOLD $$;
CREATE FUNCTION proofline_search_words(brand_id bigint, key text, name text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_to_tsvector(array_agg(DISTINCT part) || ('brand ' || brand_id))
    FROM string_to_table(trim(WORDS), ' ') word
    CROSS JOIN LATERAL (SELECT left(word, 60)) short (text)
    CROSS JOIN LATERAL generate_series(1, greatest(1, length(short.text) - 2)) start
    CROSS JOIN LATERAL (SELECT substr(short.text, start)) ending (part)
    WHERE part <> ''
$$;
"""
FUNCTIONS = _FUNCTIONS.replace("FOLD", _FOLDED.replace("TEXT", "words")).replace(
    "WORDS", _FOLDED.replace("TEXT", "key || ' ' || name")
)
REMOVE = "DROP FUNCTION proofline_search_words(bigint, text, text); DROP FUNCTION proofline_fold(text)"


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0008_visible_labels"),
        ("core", "0004_order_due_notices"),
    ]

    operations = [
        migrations.RunSQL(FUNCTIONS, REMOVE),
        migrations.AddIndex(
            model_name="subject",
            index=django.contrib.postgres.indexes.GinIndex(
                models.Func(
                    "brand",
                    "key",
                    "name",
                    function="proofline_search_words",
                    output_field=django.contrib.postgres.search.SearchVectorField(),
                ),
                name="subject_search",
            ),
        ),
    ]
