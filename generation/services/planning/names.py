"""Names of files to be: whether two files of one order would be called the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from campaigns.models import OutputSpec
from generation.finishing import names
from generation.services.planning.drafts import Draft
from generation.services.planning.orders import Order

#: Equal for all files of an order that leave on one day, so these tell nothing apart.
_SAME_FOR_ALL = {"date": "20000101", "status": "approved"}


@dataclass(frozen=True)
class Collision:
    """Files of one output spec that would be called like another file of the order; the first such pair as example.

    lacking: the placeholder that would tell them apart, empty if no placeholder does.
    """

    spec: str
    pattern: str
    name: str
    count: int
    subject: str
    other: str
    lacking: str

    @property
    def message(self) -> str:
        both = self.subject if self.subject == self.other else f"{self.subject} and {self.other}"
        files = f"{self.count} {'file' if self.count == 1 else 'files'} for {self.spec}"
        advice = (
            f"add {{{self.lacking}}} to the file name “{self.pattern}”"
            if self.lacking
            else "what differs between them is lost in a file's name"
        )
        return f"{files} would take another's name, such as {self.name} of {both}: {advice}."


class Collisions:
    """Remembers the names of one order's files; upper and lower case are one.

    `{variation}` is the axis values. A picture's candidates never leave together, so they share a name.
    """

    def __init__(self, order: Order) -> None:
        same = {"brand": order.campaign.brand.slug, "campaign": order.campaign.slug, **_SAME_FOR_ALL}
        self._name: dict[int, Callable[[Mapping[str, object]], str]] = {
            spec.pk: names.namer(
                spec.name_pattern,
                image_format=spec.image_format,
                fixed={**same, "asset_type": spec.asset_type, "spec": spec.slug},
            )
            for group in order.groups
            for spec in group.specs
        }
        #: Hash of a name -> (SKU, spec) of the first file of it. An order of a hundred thousand files stays small.
        self._taken: dict[int, tuple[str, str]] = {}
        self._found: dict[str, Collision] = {}

    def add(self, draft: Draft) -> None:
        """Count the draft's files, one per output spec of its aspect."""
        sku = draft.subject.key
        values = {"sku": sku, "variation": "-".join([str(value) for value in draft.values.values()])}
        for spec in draft.group.specs:
            name = self._name[spec.pk](values)
            identity = hash(name.casefold())
            if identity in self._taken:
                self._note(spec, name, sku, *self._taken[identity])
            else:
                self._taken[identity] = (sku, spec.slug)

    def found(self) -> tuple[Collision, ...]:
        return tuple(self._found.values())

    def _note(self, spec: OutputSpec, name: str, sku: str, other: str, other_spec: str) -> None:
        known = self._found.get(spec.slug)
        if known:
            self._found[spec.slug] = replace(known, count=known.count + 1)
            return
        differs = "sku" if sku != other else "spec" if spec.slug != other_spec else "variation"
        lacking = "" if differs in names.fields_of(spec.name_pattern) else differs
        self._found[spec.slug] = Collision(spec.slug, spec.name_pattern, name, 1, sku, other, lacking)
