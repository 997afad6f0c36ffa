"""Pick subjects for a run: by words, kind and attribute, or by a pasted list of SKUs."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.utils.translation import gettext as _

from campaigns.models import Campaign, Subject
from core.errors import Invalid, Problem
from generation.selectors import sql

SHOWN = 100
_SEPARATORS = re.compile(r"[\n\r\t,;]+")
_ATTRIBUTES = """
SELECT DISTINCT jsonb_object_keys(s.attributes) FROM campaigns_subject s
JOIN campaigns_campaign_subjects m ON m.subject_id = s.id WHERE m.campaign_id = %s AND s.is_active ORDER BY 1 LIMIT 200
"""


def search_subjects(
    campaign: Campaign, *, words: str = "", kind: str = "", attribute: str = "", value: str = ""
) -> QuerySet[Any]:
    """Return the campaign's active subjects by key. An attribute without a value matches subjects with any value."""
    subjects = campaign.subjects.filter(is_active=True)
    if words:
        subjects = subjects.filter(Q(key__icontains=words) | Q(name__icontains=words))
    if kind:
        subjects = subjects.filter(kind=kind)
    if attribute:
        subjects = subjects.annotate(held=KeyTextTransform(attribute, "attributes"))
        subjects = subjects.filter(held__iexact=value) if value else subjects.filter(held__gt="")
    return subjects.order_by("key", "pk")


def find_listed_ids(campaign: Campaign, text: str) -> list[int]:
    """Return the ids of the brand's active subjects that a pasted list names, in its order. SKUs are separated by new
    lines, tabs, commas or semicolons. Raises Invalid with the SKUs that are not known."""
    keys = list(dict.fromkeys(filter(None, map(str.strip, _SEPARATORS.split(text)))))
    if not keys:
        raise Invalid(_("Paste the SKUs."), [Problem("skus", _("The list is empty; one SKU per line."))])
    rows = Subject.objects.filter(brand_id=campaign.brand_id, is_active=True, key__in=keys).order_by("-kind")
    by_key = {key: pk for pk, key in rows.values_list("pk", "key")}
    unknown = [key for key in keys if key not in by_key]
    if unknown:
        sentence, brand = _("%(brand)s has no active subject %(key)r."), campaign.brand.name
        problems = [Problem("skus", sentence % {"brand": brand, "key": key}, key) for key in unknown[:SHOWN]]
        counts = {"unknown": len(unknown), "all": len(keys)}
        raise Invalid(_("%(unknown)d of %(all)d SKUs are not known.") % counts, problems)
    return [by_key[key] for key in keys]


def attributes(campaign: Campaign) -> list[str]:
    return [name for (name,) in sql.rows(_ATTRIBUTES, [campaign.pk])]
