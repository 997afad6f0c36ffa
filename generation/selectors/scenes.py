"""Scenes: the approved pictures of a brand's concepts, which an engine sets behind a product.

A scene is named by its concept's key. It is the newest picture of that concept that is approved and no try-out; made
and approved anew, it counts for what is planned from then on, and what was planned before keeps the one it froze.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import QuerySet

from campaigns import prompts
from campaigns.choices import SubjectKind
from campaigns.models import Brand, Subject, User
from campaigns.prompts import PromptSource
from generation.choices import AssetState
from generation.engines.base import SCENE, ImageRef
from generation.models import Asset, AssetVersion, Master

#: What says that there shall be none.
NONE: Final = frozenset({"", "none"})
#: What is not seen of a studio before a scene.
HIDDEN: Final = ("backdrop", "surface")
NAMED: Final = 8
OFFERED: Final = 24


@dataclass(frozen=True)
class Scene:
    """One concept's picture to stand before. version: the approved one, with its master."""

    key: str
    name: str
    subject_id: int
    asset_id: int
    version: AssetVersion

    @property
    def master(self) -> Master:
        return self.version.master

    @property
    def ref(self) -> ImageRef:
        return ImageRef(self.master.sha256, self.master.storage_key)


@dataclass(frozen=True)
class Offered:
    """What the pages offer. scenes: by name, at most OFFERED; more: how many are left out; unmade: concepts without an
    approved picture, the first few; unmade_count: how many."""

    scenes: Sequence[Scene]
    more: int
    unmade: Sequence[Subject]
    unmade_count: int


@dataclass(frozen=True)
class Known:
    """The scenes that an order may name. concepts: key -> (subject id, name, is it active), of every concept asked for,
    and of all where some names come of each product."""

    brand: str = ""
    scenes: Mapping[str, Scene] = field(default_factory=dict)
    concepts: Mapping[str, tuple[int, str, bool]] = field(default_factory=dict)
    others: Sequence[str] = ()

    def problem(self, key: str) -> str:
        """Why there is no such scene, and what to do; "" where there is one."""
        if key in self.scenes:
            return ""
        if key not in self.concepts:
            there = f"It has {_listed(self.others)}." if self.others else "Add it as a concept and make its picture."
            return f"There is no scene “{key}”: {self.brand} has no concept of this key. {there}"
        _, name, is_active = self.concepts[key]
        called = f"“{key}” ({name})" if name != key else f"“{key}”"
        if not is_active:
            return f"The scene {called} is retired: bring it back, or name another one."
        return f"The scene {called} has no approved picture yet: make one of this concept and approve it."

    def concept(self, key: str) -> int | None:
        """The id of the concept of this key, for a way to its page."""
        return self.concepts[key][0] if key in self.concepts else None


def named(
    source: PromptSource, axes: Mapping[str, Sequence[Any]], rows: Iterable[Mapping[str, Any]] = ()
) -> frozenset[str] | None:
    """The scenes that a prompt, its axes or a list's rows name; None where a placeholder names one per product."""
    if SCENE in source.parameters:
        own = str(source.parameters[SCENE])
        if prompts.placeholders(own):
            return None
        return frozenset() if is_none(own) else frozenset({own.strip()})
    given = [*axes.get(SCENE, ()), *(row[SCENE] for row in rows if SCENE in row)]
    return frozenset(str(one).strip() for one in given if not is_none(str(one)))


def hidden(source: PromptSource, axes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Axes of what no picture of this order shows, each with the sentence that says so. A list's rows, which have no
    axes, may each name their own."""
    if not axes or not named(source, axes):
        return {}
    sentence = "The {} is not seen before a scene, so these pictures would be equal: leave out this axis or the scene."
    return {name: sentence.format(name) for name in HIDDEN if name in axes}


def is_none(name: str) -> bool:
    return name.strip().lower() in NONE


def known(brand: Brand, keys: Collection[str] | None) -> Known:
    """The scenes of these keys, None for all of the brand; three queries, none for no key."""
    if keys is not None and not keys:
        return Known(brand.name)
    concepts = Subject.objects.filter(brand=brand, kind=SubjectKind.CONCEPT)
    asked = concepts if keys is None else concepts.filter(key__in=keys)
    living = _living(brand.pk) if keys is None else _living(brand.pk).filter(subject__key__in=keys)
    scenes = {one.key: one for one in _of(_newest(living))}
    found = {
        key: (pk, name, is_active) for pk, key, name, is_active in asked.values_list("pk", "key", "name", "is_active")
    }
    is_unknown = keys is None or any(key not in found for key in keys)
    others = concepts.filter(is_active=True).order_by("key").values_list("key", flat=True)[: NAMED + 1]
    return Known(brand.name, scenes, found, list(others) if is_unknown else ())


def get(brand: Brand, key: str) -> tuple[Scene | None, str]:
    """(the scene of this key, "") or (None, why there is none)."""
    one = known(brand, {key})
    return one.scenes.get(key), one.problem(key)


def offered(user: User, brand: Brand) -> Offered:
    """The brand's scenes as a person may choose them; four queries at most."""
    concepts = Subject.objects.visible_to(user).filter(brand=brand, kind=SubjectKind.CONCEPT, is_active=True)
    there = _living(brand.pk).values("subject_id")
    first = concepts.filter(pk__in=there).order_by("name", "pk")
    shown = list(first.values_list("pk", flat=True)[:OFFERED])
    scenes = sorted(
        _of(_newest(_living(brand.pk).filter(subject__in=shown))), key=lambda one: shown.index(one.subject_id)
    )
    unmade = concepts.exclude(pk__in=there).order_by("key")
    return Offered(scenes, first.count() - len(shown), list(unmade[:NAMED]), unmade.count())


def names(user: User, brand: Brand) -> list[tuple[str, str]]:
    """(key, name) of the brand's scenes, by name; at most OFFERED, one query."""
    concepts = Subject.objects.visible_to(user).filter(brand=brand, pk__in=_living(brand.pk).values("subject_id"))
    return list(concepts.order_by("name", "pk").values_list("key", "name")[:OFFERED])


def made_before(version: AssetVersion, sha256: str, key: str) -> AssetVersion | None:
    """The scene that stands in a picture: the version of the concept `key` whose pixels have this hash."""
    rows = AssetVersion.objects.filter(asset__brand_id=version.asset.brand_id, master__sha256=sha256)
    rows = rows.filter(asset__subject__kind=SubjectKind.CONCEPT).select_related(
        "asset__subject", "master", "job__endpoint"
    )
    found = list(rows.order_by("-pk")[:NAMED])
    return next((one for one in found if one.asset.subject.key == key), found[0] if found else None)


def _living(brand_id: int) -> QuerySet[Asset]:
    """Approved pictures of the brand's active concepts."""
    return Asset.objects.filter(
        brand_id=brand_id,
        state=AssetState.APPROVED,
        is_sandbox=False,
        current_version__isnull=False,
        subject__kind=SubjectKind.CONCEPT,
        subject__is_active=True,
    )


def _newest(assets: QuerySet[Asset]) -> QuerySet[Asset]:
    """One of each concept, the one made last."""
    rows = assets.select_related("subject", "current_version__master", "current_version__job__endpoint")
    return rows.order_by("subject_id", "-current_version_id").distinct("subject_id")


def _of(assets: Iterable[Asset]) -> list[Scene]:
    found = []
    for asset in assets:
        version = asset.current_version
        assert version is not None
        found.append(Scene(asset.subject.key, asset.subject.name, asset.subject_id, asset.pk, version))
    return found


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:NAMED])
    return f"{shown} and more" if len(keys) > NAMED else shown
