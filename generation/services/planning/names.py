"""File names of a plan: find files of one run that would get the same name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.models import OutputSpec
from generation.choices import Stage
from generation.finishing import names
from generation.services.planning.drafts import Draft
from generation.services.planning.plan_requests import PlanRequest

#: Equal for all files of a run that are delivered on one day, so these do not distinguish files.
_SAME_FOR_ALL = {"date": "20000101", "status": "approved"}


@dataclass(frozen=True)
class Collision:
    """Files of one output spec that would get the name of another file of the run, with the first such pair as example.

    lacking: the placeholder that would distinguish them, empty if no placeholder does.
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
        both = self.subject
        if self.other != self.subject:
            both = _("%(first)s and %(second)s") % {"first": self.subject, "second": self.other}
        files = ngettext("%(n)d file", "%(n)d files", self.count) % {"n": self.count}
        if self.lacking:
            sentence = _(
                "%(files)s for %(spec)s would take another's name, such as %(name)s of %(both)s: "
                "add {%(lacking)s} to the file name “%(pattern)s”."
            )
        else:
            sentence = _(
                "%(files)s for %(spec)s would take another's name, such as %(name)s of %(both)s: "
                "what differs between them is lost in a file's name."
            )
        return sentence % {**asdict(self), "files": files, "both": both}


class Collisions:
    """Collect the file names of one run and find equal ones; upper and lower case are not distinguished.

    `{variation}` stands for the axis values. Of an image, only one candidate is delivered, so they share a name.
    """

    def __init__(self, request: PlanRequest) -> None:
        # Sandbox images are never delivered, so their file names may be equal.
        groups = request.groups if request.stage != Stage.SANDBOX else ()
        shared_values = {"brand": request.campaign.brand.slug, "campaign": request.campaign.slug, **_SAME_FOR_ALL}
        self._name: dict[int, Callable[[Mapping[str, object]], str]] = {
            spec.pk: names.make_namer(
                spec.name_pattern,
                image_format=spec.image_format,
                fixed={**shared_values, "asset_type": spec.asset_type, "spec": spec.slug},
            )
            for group in groups
            for spec in group.specs
        }
        #: Hash of a name -> (SKU, spec) of the first file with it. Hashes keep this small for 100,000 files.
        self._taken: dict[int, tuple[str, str]] = {}
        self._collisions: dict[str, Collision] = {}

    def add(self, draft: Draft) -> None:
        """Count the draft's files, one per output spec of its aspect."""
        sku = draft.subject.key
        values = {"sku": sku, "variation": "-".join([str(value) for value in draft.values.values()])}
        for spec in draft.group.specs:
            if spec.pk not in self._name:
                continue
            name = self._name[spec.pk](values)
            identity = hash(name.casefold())
            if identity in self._taken:
                self._note(spec, name, sku, *self._taken[identity])
            else:
                self._taken[identity] = (sku, spec.slug)

    def list_collisions(self) -> tuple[Collision, ...]:
        return tuple(self._collisions.values())

    def _note(self, spec: OutputSpec, name: str, sku: str, other: str, other_spec: str) -> None:
        collision = self._collisions.get(spec.slug)
        if collision:
            self._collisions[spec.slug] = replace(collision, count=collision.count + 1)
            return
        differs = "sku" if sku != other else "spec" if spec.slug != other_spec else "variation"
        lacking = "" if differs in names.fields_of(spec.name_pattern) else differs
        self._collisions[spec.slug] = Collision(spec.slug, spec.name_pattern, name, 1, sku, other, lacking)
