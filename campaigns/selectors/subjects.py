"""Reading subjects."""

from __future__ import annotations

from collections.abc import Iterable

from campaigns.errors import Invalid, Problem
from campaigns.models import Brand, Subject


def ids_by_key(brand: Brand, keys: Iterable[str]) -> list[int] | None:
    """Ids of the brand's active subjects with these SKUs; None for ["*"], which means all. Raises Invalid."""
    wanted = list(dict.fromkeys(keys))
    if wanted == ["*"]:
        return None
    found = dict(Subject.objects.filter(brand=brand, is_active=True, key__in=wanted).values_list("key", "pk"))
    unknown = [key for key in wanted if key not in found]
    if unknown:
        problems = [Problem("/subjects", f"{brand.name} has no active subject {key!r}.", key) for key in unknown]
        raise Invalid("Some subjects are not known.", problems)
    return list(found.values())
