"""Concepts that a run names by their key: one image of each goes into the jobs that name it.

A scene is the newest image of the concept that is approved and not a try-out. A map is the first photo of the concept
that is ready. A newer image is used for runs that are planned from then on; earlier plans keep the image that they
froze.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns import prompts
from campaigns.choices import PhotoStatus, SubjectKind
from campaigns.models import PromptVersion, ReferencePhoto, Subject
from campaigns.prompts import PromptSource
from core.models import Brand, User
from generation.choices import AssetState
from generation.engines.base import CONTROL, CONTROL_MAP, MAP, SCENE, Capabilities, ImageRef
from generation.models import Asset, AssetVersion, Master
from generation.selectors import images

#: Values that mean "no concept".
NONE: Final = frozenset({"", "none"})
NAMED: Final = 8
MAX_OFFERED: Final = 24
#: Axes of a studio that are not visible where a scene is behind the product.
HIDDEN_BY_SCENE: Final = ("backdrop", "surface")
SCENES_LOOKED_AT: Final = 8
NO_PRODUCT_MAP: Final = gettext_lazy(
    "A product’s photo is no map: name a concept that has the map as its photo in control_map."
)
_OF_ACTIVE_CONCEPTS: Final[Mapping[str, Any]] = {"subject__kind": SubjectKind.CONCEPT, "subject__is_active": True}


@dataclass(frozen=True)
class Image:
    """The image that is used for a concept. file: its row, with sha256 and storage key; kind: its name in the template
    tag `image`. disclaimer: the disclaimer that must stand beside it wherever it is shown, or ""."""

    key: str
    name: str
    subject_id: int
    kind: str
    file: Master | ReferencePhoto
    disclaimer: str = ""

    @property
    def ref(self) -> ImageRef:
        return ImageRef(self.file.sha256, self.file.storage_key)


class ConceptUse(ABC):
    """A use of concepts.

    parameter: the parameter that holds the key; role: the role of the image in the spec; noun: its name in
    `Control.kind`; unknown, add, retired, lacking: sentences where the concept, or its image, is missing.
    """

    parameter: ClassVar[str]
    role: ClassVar[str]
    noun: ClassVar[str]
    unknown: ClassVar[Promise]
    add: ClassVar[Promise]
    retired: ClassVar[Promise]
    lacking: ClassVar[Promise]

    @property
    def problem(self) -> str:
        """Return the kind of problem that an image has where this is missing."""
        return f"missing_{self.noun}"

    @abstractmethod
    def active_rows(self, brand_id: int) -> QuerySet[Any]:
        """Return the rows with such images of a brand's active concepts, each with its `subject`."""

    @abstractmethod
    def images(self, rows_of_concepts: QuerySet[Any]) -> list[Image]:
        """Return one image of each concept; one query."""


class Scenes(ConceptUse):
    parameter = role = noun = SCENE
    unknown = gettext_lazy("There is no scene “%(key)s”: %(brand)s has no concept of this key.")
    add = gettext_lazy("Add it as a concept and make its image.")
    retired = gettext_lazy("The scene %(name)s is retired: bring it back, or name another one.")
    lacking = gettext_lazy("The scene %(name)s has no approved image yet: make one of this concept and approve it.")

    def active_rows(self, brand_id: int) -> QuerySet[Any]:
        rows = Asset.objects.filter(state=AssetState.APPROVED, is_sandbox=False, current_version__isnull=False)
        return rows.filter(brand_id=brand_id, **_OF_ACTIVE_CONCEPTS)

    def images(self, rows_of_concepts: QuerySet[Any]) -> list[Image]:
        rows = rows_of_concepts.select_related("subject", "current_version__master")
        rows = rows.order_by("subject_id", "-current_version_id").distinct("subject_id")
        assets = [(asset.subject, asset) for asset in rows.annotate(image_disclaimer=images.DISCLAIMER_OF_ASSET)]
        return [
            Image(concept.key, concept.name, concept.pk, "master", asset.current_version.master, asset.image_disclaimer)
            for concept, asset in assets
        ]


class Maps(ConceptUse):
    parameter, role, noun = CONTROL_MAP, CONTROL, MAP
    unknown = gettext_lazy("There is no map “%(key)s”: %(brand)s has no concept of this key.")
    add = gettext_lazy("Add it as a concept and upload the finished map as its photo.")
    retired = gettext_lazy("The map %(name)s is retired: bring it back, or name another one.")
    lacking = gettext_lazy("The map %(name)s has no photo yet: upload the finished map as a photo of this concept.")

    def active_rows(self, brand_id: int) -> QuerySet[Any]:
        rows = ReferencePhoto.objects.filter(status=PhotoStatus.READY, subject__brand_id=brand_id)
        return rows.filter(**_OF_ACTIVE_CONCEPTS)

    def images(self, rows_of_concepts: QuerySet[Any]) -> list[Image]:
        rows = rows_of_concepts.order_by("subject_id", "position", "id").distinct("subject_id")
        photos = rows.select_related("subject")
        return [Image(photo.subject.key, photo.subject.name, photo.subject_id, "photo", photo) for photo in photos]


SCENES: Final = Scenes()
MAPS: Final = Maps()
USES: Final[Mapping[str, ConceptUse]] = {use.noun: use for use in (SCENES, MAPS)}


@dataclass(frozen=True)
class ConceptChoices:
    """The concepts that pages offer. images: by name, at most MAX_OFFERED; more: how many are left out;
    without_image: the first few concepts without such an image; without_image_count: how many there are."""

    images: Sequence[Image]
    more: int
    without_image: Sequence[Subject]
    without_image_count: int


@dataclass(frozen=True)
class ConceptImages:
    """The concepts that a run may name for one use.

    concepts: key -> (subject id, name, is active) of every requested concept, and of all concepts where each product
    names its own. others: the first keys of active concepts, for messages.
    """

    use: ConceptUse
    brand: str
    images: Mapping[str, Image] = field(default_factory=dict)
    concepts: Mapping[str, tuple[int, str, bool]] = field(default_factory=dict)
    others: Sequence[str] = ()

    def problem(self, key: str) -> str:
        """Return why there is no image for this key and what to do; "" where there is one."""
        if key in self.images:
            return ""
        if key not in self.concepts:
            advice = _("It has %(keys)s.") % {"keys": _listed(self.others)} if self.others else self.use.add
            return f"{str(self.use.unknown) % {'key': key, 'brand': self.brand}} {advice}"
        _pk, name, is_active = self.concepts[key]
        sentence = str(self.use.lacking if is_active else self.use.retired)
        return sentence % {"name": f"“{key}” ({name})" if name != key else f"“{key}”"}

    def concept(self, key: str) -> int | None:
        """Return the id of the concept with this key, for a link to its page."""
        return self.concepts[key][0] if key in self.concepts else None


def supported_uses(capabilities: Capabilities) -> tuple[ConceptUse, ...]:
    is_taken = {SCENE: capabilities.takes_scenes, MAP: capabilities.takes_maps}
    return tuple(use for noun, use in USES.items() if is_taken[noun])


def list_named_keys(
    use: ConceptUse, source: PromptSource, axes: Mapping[str, Sequence[Any]], rows: Iterable[Mapping[str, Any]] = ()
) -> frozenset[str] | None:
    """Return the keys that a prompt, its axes or rows name; None where a placeholder names one per product."""
    if use.parameter in source.parameters:
        name = str(source.parameters[use.parameter])
        if prompts.placeholders(name):
            return None
        return frozenset() if is_none(name) else frozenset({name.strip()})
    values = [*axes.get(use.parameter, ()), *(row[use.parameter] for row in rows if use.parameter in row)]
    return frozenset(str(value).strip() for value in values if not is_none(str(value)))


def subject_images(
    capabilities: Capabilities, version: PromptVersion, source: PromptSource, columns: Iterable[str]
) -> frozenset[str]:
    """Return the roles that are filled with images of each subject itself. columns: names of the run's axes, or of the
    columns of its list. Where they or the prompt name the map, the photo of the subject itself is not used as one."""
    has_named_map = capabilities.takes_maps and CONTROL_MAP in {*source.parameters, *columns}
    return capabilities.subject_images(version.needs.get("images", ())) - ({CONTROL} if has_named_map else set())


def concept_roles(parameters: Mapping[str, Any]) -> frozenset[str]:
    """Return the roles of a spec's images that belong to concepts which it names, not to its subject."""
    return frozenset(use.role for use in USES.values() if use.parameter in parameters)


def is_none(name: str) -> bool:
    return name.strip().lower() in NONE


def load_images(use: ConceptUse, brand: Brand, keys: Collection[str] | None) -> ConceptImages:
    """Return the concepts with these keys and their images; None for all. Three queries, none without keys."""
    if keys is not None and not keys:
        return ConceptImages(use, brand.name)
    concepts = Subject.objects.filter(brand=brand, kind=SubjectKind.CONCEPT)
    requested, rows_of_concepts = concepts, use.active_rows(brand.pk)
    if keys is not None:
        requested, rows_of_concepts = concepts.filter(key__in=keys), rows_of_concepts.filter(subject__key__in=keys)
    images = {image.key: image for image in use.images(rows_of_concepts)}
    rows = requested.values_list("key", "pk", "name", "is_active")
    by_key = {key: (pk, name, is_active) for key, pk, name, is_active in rows}
    is_unknown = keys is None or any(key not in by_key for key in keys)
    others = concepts.filter(is_active=True).order_by("key").values_list("key", flat=True)[: NAMED + 1]
    return ConceptImages(use, brand.name, images, by_key, list(others) if is_unknown else ())


def find_image(use: ConceptUse, brand: Brand, key: str) -> tuple[Image | None, str]:
    """Return (the image of this key, "") or (None, the reason why there is none)."""
    lookup = load_images(use, brand, {key})
    return lookup.images.get(key), lookup.problem(key)


def list_choices(use: ConceptUse, user: User, brand: Brand) -> ConceptChoices:
    """Return the brand's concepts with their images that a person may choose; four queries at most."""
    concepts = Subject.objects.visible_to(user).filter(brand=brand, kind=SubjectKind.CONCEPT, is_active=True)
    with_image = use.active_rows(brand.pk).values("subject_id")
    first = concepts.filter(pk__in=with_image).order_by("name", "pk")
    shown = list(first.values_list("pk", flat=True)[:MAX_OFFERED])
    images = use.images(use.active_rows(brand.pk).filter(subject__in=shown))
    without_image = concepts.exclude(pk__in=with_image).order_by("key")
    return ConceptChoices(
        sorted(images, key=lambda image: shown.index(image.subject_id)),
        first.count() - len(shown),
        list(without_image[:NAMED]),
        without_image.count(),
    )


def list_names(use: ConceptUse, user: User, brand: Brand, used: str = "") -> list[tuple[str, str]]:
    """Return (key, name) of the concepts that may be chosen, by name, and of the one in use; at most MAX_OFFERED and
    that one, one query."""
    with_image = use.active_rows(brand.pk).values("subject_id")
    concepts = Subject.objects.visible_to(user).filter(brand=brand, pk__in=with_image)
    names = list(concepts.order_by("name", "pk").values_list("key", "name")[:MAX_OFFERED])
    is_listed = is_none(used) or used in dict(names)
    return names if is_listed else [(used, _("%(key)s, as it is") % {"key": used}), *names]


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:NAMED])
    return _("%(keys)s and more") % {"keys": shown} if len(keys) > NAMED else shown


def find_hidden_axes(source: PromptSource, axes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return the axes that change nothing in the images of this run, each with a sentence that says so. The rows of a
    list have no axes; each row may name its own."""
    if not axes or not list_named_keys(SCENES, source, axes):
        return {}
    sentence = _(
        "The %(axis)s is not seen before a scene, so these images would be equal: leave out this axis or the scene."
    )
    return {name: sentence % {"axis": name} for name in HIDDEN_BY_SCENE if name in axes}


def find_shown_scene(version: AssetVersion, sha256: str, key: str) -> AssetVersion | None:
    """Return the scene that an image shows: the version of the concept `key` whose pixels have this hash."""
    rows = AssetVersion.objects.filter(asset__brand_id=version.asset.brand_id, master__sha256=sha256)
    rows = rows.filter(asset__subject__kind=SubjectKind.CONCEPT).order_by("-pk")
    candidates = list(rows.select_related("asset__subject", "master", "job__endpoint")[:SCENES_LOOKED_AT])
    of_key = [candidate for candidate in candidates if candidate.asset.subject.key == key]
    return next(iter([*of_key, *candidates]), None)
