"""Concepts that an order names by their key: one picture of each goes into the jobs that name it.

As a scene it is the newest picture of the concept that is approved and no try-out; as a map, the concept's first photo
that is ready. Another picture counts for what is planned from then on; what was planned before keeps the one it froze.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from django.db.models import QuerySet

from campaigns import prompts
from campaigns.choices import PhotoStatus, SubjectKind
from campaigns.models import PromptVersion, ReferencePhoto, Subject
from campaigns.prompts import PromptSource
from core.models import Brand, User
from generation.choices import AssetState
from generation.engines.base import CONTROL, CONTROL_MAP, MAP, SCENE, Capabilities, ImageRef
from generation.models import Asset, Master
from generation.selectors import cautions

#: What says that there shall be none.
NONE: Final = frozenset({"", "none"})
NAMED: Final = 8
OFFERED: Final = 24
NO_PRODUCT_MAP: Final = f"A product’s photo is no map: name a concept that has the map as its photo in {CONTROL_MAP}."


@dataclass(frozen=True)
class Picture:
    """The picture that a concept is named for. file: its row, with sha256 and storage key; kind: as the tag `picture`
    calls it. caution: what is to be said of it wherever it is shown, or ""."""

    key: str
    name: str
    subject_id: int
    kind: str
    file: Master | ReferencePhoto
    caution: str = ""

    @property
    def ref(self) -> ImageRef:
        return ImageRef(self.file.sha256, self.file.storage_key)


class Use(ABC):
    """A use of concepts. parameter: holds its key; role: the image that its picture becomes; noun: what
    people and `Control.kind` call it; add, lacking: what to do where there is no concept, and no picture of it."""

    parameter: ClassVar[str]
    role: ClassVar[str]
    noun: ClassVar[str]
    add: ClassVar[str]
    lacking: ClassVar[str]

    @property
    def problem(self) -> str:
        """The kind of problem that a picture has without it."""
        return f"missing_{self.noun}"

    @abstractmethod
    def living(self, brand_id: int) -> QuerySet[Any]:
        """The rows of a brand's active concepts that hold such a picture, each with its `subject`."""

    @abstractmethod
    def pictures(self, living: QuerySet[Any]) -> list[Picture]:
        """One of each concept; one query."""


class Scenes(Use):
    parameter = role = noun = SCENE
    add = "Add it as a concept and make its picture."
    lacking = "has no approved picture yet: make one of this concept and approve it."

    def living(self, brand_id: int) -> QuerySet[Any]:
        return Asset.objects.filter(
            brand_id=brand_id,
            state=AssetState.APPROVED,
            is_sandbox=False,
            current_version__isnull=False,
            subject__kind=SubjectKind.CONCEPT,
            subject__is_active=True,
        )

    def pictures(self, living: QuerySet[Any]) -> list[Picture]:
        rows = living.select_related("subject", "current_version__master").annotate(said=cautions.OF_ASSET)
        newest = rows.order_by("subject_id", "-current_version_id").distinct("subject_id")
        made = [(one.subject, one.current_version.master, one.said) for one in newest]
        return [Picture(of.key, of.name, of.pk, "master", master, caution) for of, master, caution in made]


class Maps(Use):
    parameter, role, noun = CONTROL_MAP, CONTROL, MAP
    add = "Add it as a concept and upload the finished map as its photo."
    lacking = "has no photo yet: upload the finished map as a photo of this concept."

    def living(self, brand_id: int) -> QuerySet[Any]:
        return ReferencePhoto.objects.filter(
            status=PhotoStatus.READY,
            subject__brand_id=brand_id,
            subject__kind=SubjectKind.CONCEPT,
            subject__is_active=True,
        )

    def pictures(self, living: QuerySet[Any]) -> list[Picture]:
        rows = living.select_related("subject").order_by("subject_id", "position", "id").distinct("subject_id")
        return [Picture(one.subject.key, one.subject.name, one.subject_id, "photo", one) for one in rows]


SCENES: Final = Scenes()
MAPS: Final = Maps()
USES: Final[Mapping[str, Use]] = {use.noun: use for use in (SCENES, MAPS)}


@dataclass(frozen=True)
class Offered:
    """The concepts that pages offer. pictures: by name, at most OFFERED; more: how many are left out; unmade: concepts
    without such a picture, the first few; unmade_count: how many."""

    pictures: Sequence[Picture]
    more: int
    unmade: Sequence[Subject]
    unmade_count: int


@dataclass(frozen=True)
class Known:
    """The concepts that an order may name for one use. concepts: key -> (subject id, name, is it active), of every
    concept asked for, and of all where some names come of each product."""

    use: Use
    brand: str
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    concepts: Mapping[str, tuple[int, str, bool]] = field(default_factory=dict)
    others: Sequence[str] = ()

    def problem(self, key: str) -> str:
        """Return why there is no such picture, and what to do; "" where there is one."""
        if key in self.pictures:
            return ""
        noun = self.use.noun
        if key not in self.concepts:
            there = f"It has {_listed(self.others)}." if self.others else self.use.add
            return f"There is no {noun} “{key}”: {self.brand} has no concept of this key. {there}"
        _, name, is_active = self.concepts[key]
        called = f"“{key}” ({name})" if name != key else f"“{key}”"
        if not is_active:
            return f"The {noun} {called} is retired: bring it back, or name another one."
        return f"The {noun} {called} {self.use.lacking}"

    def concept(self, key: str) -> int | None:
        """The id of the concept of this key, for a way to its page."""
        return self.concepts[key][0] if key in self.concepts else None


def taken(capabilities: Capabilities) -> tuple[Use, ...]:
    """Return what an engine lets concepts be named for."""
    is_taken = {SCENE: capabilities.takes_scenes, MAP: capabilities.takes_maps}
    return tuple(use for noun, use in USES.items() if is_taken[noun])


def named(
    use: Use, source: PromptSource, axes: Mapping[str, Sequence[Any]], rows: Iterable[Mapping[str, Any]] = ()
) -> frozenset[str] | None:
    """The keys that a prompt, its axes or a list's rows name; None where a placeholder names one per product."""
    if use.parameter in source.parameters:
        own = str(source.parameters[use.parameter])
        if prompts.placeholders(own):
            return None
        return frozenset() if is_none(own) else frozenset({own.strip()})
    given = [*axes.get(use.parameter, ()), *(row[use.parameter] for row in rows if use.parameter in row)]
    return frozenset(str(one).strip() for one in given if not is_none(str(one)))


def subject_images(
    capabilities: Capabilities, version: PromptVersion, source: PromptSource, columns: Iterable[str]
) -> frozenset[str]:
    """The roles that pictures of each subject itself fill. columns: names of the order's axes, or of the columns of its
    list; where they or the prompt say what the map is, the subject's own photo is none."""
    own = capabilities.subject_images(version.needs.get("images", ()))
    return own - {CONTROL} if capabilities.takes_maps and CONTROL_MAP in {*source.parameters, *columns} else own


def roles(parameters: Mapping[str, Any]) -> frozenset[str]:
    """The images of a spec that are pictures of concepts which it names, not of its subject."""
    return frozenset(use.role for use in USES.values() if use.parameter in parameters)


def is_none(name: str) -> bool:
    return name.strip().lower() in NONE


def known(use: Use, brand: Brand, keys: Collection[str] | None) -> Known:
    """The pictures of these keys, None for all of the brand; three queries, none for no key."""
    if keys is not None and not keys:
        return Known(use, brand.name)
    concepts = Subject.objects.filter(brand=brand, kind=SubjectKind.CONCEPT)
    asked = concepts if keys is None else concepts.filter(key__in=keys)
    living = use.living(brand.pk) if keys is None else use.living(brand.pk).filter(subject__key__in=keys)
    pictures = {one.key: one for one in use.pictures(living)}
    found = {
        key: (pk, name, is_active) for pk, key, name, is_active in asked.values_list("pk", "key", "name", "is_active")
    }
    is_unknown = keys is None or any(key not in found for key in keys)
    others = concepts.filter(is_active=True).order_by("key").values_list("key", flat=True)[: NAMED + 1]
    return Known(use, brand.name, pictures, found, list(others) if is_unknown else ())


def get(use: Use, brand: Brand, key: str) -> tuple[Picture | None, str]:
    """(the picture of this key, "") or (None, why there is none)."""
    one = known(use, brand, {key})
    return one.pictures.get(key), one.problem(key)


def offered(use: Use, user: User, brand: Brand) -> Offered:
    """The brand's concepts with their pictures as a person may choose them; four queries at most."""
    concepts = Subject.objects.visible_to(user).filter(brand=brand, kind=SubjectKind.CONCEPT, is_active=True)
    there = use.living(brand.pk).values("subject_id")
    first = concepts.filter(pk__in=there).order_by("name", "pk")
    shown = list(first.values_list("pk", flat=True)[:OFFERED])
    found = use.pictures(use.living(brand.pk).filter(subject__in=shown))
    unmade = concepts.exclude(pk__in=there).order_by("key")
    return Offered(
        sorted(found, key=lambda one: shown.index(one.subject_id)),
        first.count() - len(shown),
        list(unmade[:NAMED]),
        unmade.count(),
    )


def names(use: Use, user: User, brand: Brand) -> list[tuple[str, str]]:
    """(key, name) of what may be chosen, by name; at most OFFERED, one query."""
    there = use.living(brand.pk).values("subject_id")
    concepts = Subject.objects.visible_to(user).filter(brand=brand, pk__in=there)
    return list(concepts.order_by("name", "pk").values_list("key", "name")[:OFFERED])


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:NAMED])
    return f"{shown} and more" if len(keys) > NAMED else shown
