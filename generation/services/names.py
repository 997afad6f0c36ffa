"""Names of files to be: whether two pictures of one order would be called the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.utils.text import slugify

from campaigns.models import OutputSpec
from generation.services.drafts import Draft
from generation.services.orders import Order

_FIELD = re.compile(r"\{([^{}|:]+)[^{}]*\}")


@dataclass(frozen=True)
class Collision:
    """Files of one output spec that would be called like another file of the order; the first such pair as example."""

    spec: str
    pattern: str
    count: int
    subject: str
    other: str

    @property
    def message(self) -> str:
        return (
            f"{self.count} files for {self.spec} would take another's name (such as {self.subject} and {self.other}): "
            f"“{self.pattern}” does not tell them apart; add {{variation}}, {{spec}} or {{aspect}}."
        )


class Collisions:
    """Remembers what tells the names of one order apart.

    Fields that differ from delivery to delivery (date, status) are equal within an order and tell nothing apart;
    `{variation}` is the axis values. A picture's candidates never leave together, so they share a name.
    """

    def __init__(self, order: Order) -> None:
        self._fields = {spec.pk: _FIELD.findall(spec.name_pattern) for group in order.groups for spec in group.specs}
        self._taken: dict[int, str] = {}
        self._found: dict[str, Collision] = {}

    def add(self, draft: Draft) -> None:
        """Count the draft's files, one per output spec of its aspect."""
        for spec in draft.group.specs:
            parts = [_part(field, draft, spec) for field in self._fields[spec.pk]]
            # Only the hash is kept: an order of a hundred thousand files stays small.
            identity = hash((_FIELD.sub("{}", spec.name_pattern), spec.image_format, *parts))
            if identity not in self._taken:
                self._taken[identity] = draft.subject.key
                continue
            known = self._found.get(spec.slug)
            self._found[spec.slug] = (
                replace(known, count=known.count + 1)
                if known
                else Collision(spec.slug, spec.name_pattern, 1, draft.subject.key, self._taken[identity])
            )

    def found(self) -> tuple[Collision, ...]:
        return tuple(self._found.values())


def _part(field: str, draft: Draft, spec: OutputSpec) -> str:
    subject = draft.subject
    known: Mapping[str, Any] = {
        "sku": subject.key,
        "key": subject.key,
        "name": subject.name,
        "asset_type": spec.asset_type,
        "spec": spec.slug,
        "width": spec.width,
        "height": spec.height,
        "aspect": draft.group.aspect,
        "format": spec.image_format,
        "variation": draft.values_key,
    }
    value = known.get(field, draft.values.get(field, subject.attributes.get(field, "")))
    return slugify(str(value), allow_unicode=True) or str(value)
