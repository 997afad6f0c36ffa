"""Remove stored files that no row names, after an hour: attempts leave them that die between writing and commit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import chain, islice

from django.utils import timezone

from core import sql, stored_files

GRACE = timedelta(hours=1)
CHUNK = 1000

# One statement for a chunk of files. By hand, because the ORM does not write the expression of the index of thumbnails.
_NAMED = """
SELECT f.key FROM unnest(%(keys)s::text[], %(hashes)s::text[]) AS f(key, sha256)
WHERE EXISTS (SELECT 1 FROM generation_master m WHERE m.sha256 = f.sha256)
   OR EXISTS (SELECT 1 FROM generation_rendition r WHERE r.sha256 = f.sha256)
   OR EXISTS (SELECT 1 FROM generation_markedfile d WHERE d.sha256 = f.sha256)
   OR EXISTS (SELECT 1 FROM generation_master m
              WHERE jsonb_path_query_array(m.thumbnails, '$.*') @> to_jsonb(f.key))
   OR EXISTS (SELECT 1 FROM campaigns_referencephoto p WHERE p.sha256 = f.sha256 AND p.sha256 <> '')
   OR EXISTS (SELECT 1 FROM campaigns_cutout c WHERE c.sha256 = f.sha256)
   OR EXISTS (SELECT 1 FROM campaigns_feedimport i WHERE i.storage_key = f.key AND i.storage_key <> '')
   OR EXISTS (SELECT 1 FROM campaigns_guideimage g WHERE g.sha256 = f.sha256)
   OR EXISTS (SELECT 1 FROM campaigns_briefimage b WHERE b.sha256 = f.sha256)
"""


def sweep(*, now: datetime | None = None) -> int:
    """Delete stored files and leftovers of interrupted writes that are older than an hour and that no row names.

    Returns how many were deleted.
    """
    before = (now or timezone.now()) - GRACE
    removed = 0
    listed = chain(stored_files.list_keys(), stored_files.list_keys(stored_files.TEMPORARY))
    while chunk := list(islice(listed, CHUNK)):
        old_files = [file for file in chunk if file.modified_at < before]
        named_keys = list_referenced_keys(old_files)
        removed += sum(
            stored_files.delete_if_older(file.key, than=before) for file in old_files if file.key not in named_keys
        )
    return removed


def list_referenced_keys(listed: Iterable[stored_files.ListedFile]) -> set[str]:
    """Return the keys of those files that some row names."""
    files = list(listed)
    values = {"keys": [file.key for file in files], "hashes": [file.sha256 for file in files]}
    return {row[0] for row in sql.rows(_NAMED, values)}
