"""Pick subjects for a run: by words, kind and attribute, or by a pasted list of SKUs."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Func, Q, QuerySet, TextField
from django.db.models.fields.json import KeyTextTransform
from django.utils.translation import gettext as _

from campaigns.models import Campaign, Subject
from core.errors import Invalid, Problem

SHOWN = 100
_SEPARATORS = re.compile(r"[\n\r\t,;]+")


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
    names = Func("attributes", function="jsonb_object_keys", output_field=TextField())
    named = campaign.subjects.filter(is_active=True).annotate(attribute=names).order_by("attribute")
    return list(named.values_list("attribute", flat=True).distinct()[:200])
