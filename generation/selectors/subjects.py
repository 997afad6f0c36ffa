"""Subjects of runs: picked by words or by a list of SKUs, their values and input images, and their readiness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Func, Q, QuerySet, TextField
from django.db.models.fields.json import KeyTextTransform
from django.utils.translation import gettext as _

from campaigns import prompts
from campaigns.choices import PhotoRole, PhotoStatus, SubjectKind
from campaigns.models import Campaign, Cutout, OutputSpec, PromptVersion, ReferencePhoto, Subject
from campaigns.selectors import campaigns, readiness
from campaigns.selectors import prompts as prompt_selectors
from core.errors import Invalid, Problem
from generation.choices import PHOTO_MARK
from generation.engines.base import CONTROL, MAP, SCENE, Capabilities, ImageRef
from generation.models import Endpoint, Run
from generation.selectors import concepts, endpoints

#: The most unknown SKUs that are listed.
UNKNOWN_SHOWN = 100
_SEPARATORS = re.compile(r"[\n\r\t,;]+")


@dataclass(frozen=True)
class Images:
    """A subject's input images of one photo role."""

    photo_id: int
    photo: ImageRef
    cutout: ImageRef | None


@dataclass(frozen=True)
class SubjectRow:
    """One subject as planning needs it. images: by photo role, "" for the first ready photo."""

    id: int
    key: str
    name: str
    kind: str
    attributes: Mapping[str, Any]
    images: Mapping[str, Images]

    @property
    def values(self) -> dict[str, Any]:
        return campaigns.placeholder_values(self)


@dataclass(frozen=True)
class Readiness:
    """The readiness of one subject. attributes: placeholders of the prompt without a value; photos: problems of its
    photos; scene, map: why there is no image of the scene behind it, and no map for its image to follow, or ""."""

    attributes: tuple[str, ...]
    photos: readiness.Readiness
    scene: str = ""
    map: str = ""

    @property
    def is_ready(self) -> bool:
        return not (self.attributes or self.scene or self.map) and self.photos.is_ready

    @property
    def sentences(self) -> tuple[str, ...]:
        names = {"attributes": ", ".join(self.attributes)}
        lacking = _("It has no %(attributes)s, which the prompt names.") % names if self.attributes else ""
        return (*filter(None, [lacking, self.scene, self.map]), *self.photos.findings)


def load(where: Mapping[str, Any], *, brand_id: int, is_sandbox: bool, with_images: bool) -> dict[int, SubjectRow]:
    """Return a brand's active subjects by id; in the sandbox also the hidden one of free prompts. Three queries."""
    is_usable = Q(is_active=True) | Q(studio__isnull=False) if is_sandbox else Q(is_active=True)
    subjects = Subject.objects.filter(is_usable, brand_id=brand_id, **where)
    rows = list(subjects.order_by("-kind").values_list("pk", "key", "name", "kind", "attributes"))
    rows.sort(key=lambda row: row[3] == "product")  # for equal keys in a list of keys the last one wins
    images = _images([row[0] for row in rows]) if with_images else {}
    return {row[0]: SubjectRow(*row, images=images.get(row[0], {})) for row in rows}


def _images(subject_ids: Sequence[int]) -> dict[int, dict[str, Images]]:
    """Return the images by subject id and photo role; two queries."""
    photos = list(
        ReferencePhoto.objects.filter(subject_id__in=subject_ids, status=PhotoStatus.READY)
        .order_by("subject_id", "position", "id")
        .values_list("pk", "subject_id", "role", "sha256", "storage_key")
    )
    accepted = Cutout.objects.filter(photo_id__in=[photo[0] for photo in photos], is_accepted=True)
    rows = accepted.values_list("photo_id", "sha256", "storage_key")
    cutouts = {photo_id: ImageRef(sha256, key) for photo_id, sha256, key in rows}
    by_subject: dict[int, dict[str, Images]] = {}
    for pk, subject_id, role, sha256, key in photos:
        roles = by_subject.setdefault(subject_id, {})
        images = Images(pk, ImageRef(sha256, key), cutouts.get(pk))
        for label in (role, f"{PHOTO_MARK}{pk}", ""):
            existing = roles.get(label)
            # A photo with a cut-out is preferred to an earlier one without.
            if existing is None or (existing.cutout is None and images.cutout is not None):
                roles[label] = images
    for roles in by_subject.values():
        front = roles.get(PhotoRole.FRONT)
        if front is not None and front.cutout is not None:
            roles[""] = front
    return by_subject


def likely_endpoint(campaign: Campaign, version: PromptVersion) -> Endpoint | None:
    """Return the endpoint of the version's last run in this campaign, else the first one of the version's engine."""
    run = Run.objects.filter(campaign=campaign, prompt_version=version, endpoint__is_enabled=True).order_by("-id")
    if last := run.select_related("endpoint").first():
        return last.endpoint
    fitting = endpoints.list_usable(campaign.brand)
    engine = version.needs.get("engine")
    endpoint: Endpoint | None = (fitting.filter(engine=engine) if engine else fitting).first()
    return endpoint


def load_readiness(
    subjects: Iterable[Subject],
    *,
    campaign: Campaign,
    version: PromptVersion,
    endpoint: Endpoint | None,
    specs: Sequence[OutputSpec],
) -> Mapping[int, Readiness]:
    """Return the readiness by subject id; nine queries at most for any number of subjects."""
    listed = list(subjects)
    source = prompt_selectors.prompt_source(version)
    capabilities = endpoints.build_offer(endpoint).capabilities if endpoint else None
    images = concepts.subject_images(capabilities, version, source, version.axes) if capabilities else frozenset()
    photos = readiness.assess(listed, specs=specs, images_needed=images)
    shared: dict[str, Any] = {"brand": campaign.brand.name, "campaign": campaign.name}
    shared |= dict.fromkeys(version.axes, "one of the axis")
    missing = {SCENE: "", MAP: ""} | (_missing(campaign, version, capabilities, source) if capabilities else {})
    is_own_map = CONTROL in images and capabilities is not None and capabilities.takes_maps
    readiness_by_id = {}
    for subject in listed:
        has_no_map = is_own_map and subject.kind == SubjectKind.PRODUCT
        no_map = str(concepts.NO_PRODUCT_MAP) if has_no_map else missing[MAP]
        lacking = tuple(prompts.find_missing_names(source, shared | campaigns.placeholder_values(subject)))
        readiness_by_id[subject.pk] = Readiness(lacking, photos[subject.pk], missing[SCENE], no_map)
    return readiness_by_id


def _missing(
    campaign: Campaign, version: PromptVersion, capabilities: Capabilities, source: prompts.PromptSource
) -> dict[str, str]:
    """Return, by use, why the first of the version's scenes or maps without an image has none; "" if all have one."""
    problems = {}
    for use in concepts.supported_uses(capabilities):
        keys = concepts.list_named_keys(use, source, version.axes) or frozenset()
        lookup = concepts.load_images(use, campaign.brand, keys)
        problems[use.noun] = next((problem for key in sorted(keys) if (problem := lookup.problem(key))), "")
    return problems


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
    if unknown := [key for key in keys if key not in by_key]:
        sentence, brand = _("%(brand)s has no active subject %(key)r."), campaign.brand.name
        problems = [Problem("skus", sentence % {"brand": brand, "key": key}, key) for key in unknown[:UNKNOWN_SHOWN]]
        counts = {"unknown": len(unknown), "all": len(keys)}
        raise Invalid(_("%(unknown)d of %(all)d SKUs are not known.") % counts, problems)
    return [by_key[key] for key in keys]


def attributes(campaign: Campaign) -> list[str]:
    names = Func("attributes", function="jsonb_object_keys", output_field=TextField())
    named = campaign.subjects.filter(is_active=True).annotate(attribute=names).order_by("attribute")
    return list(named.values_list("attribute", flat=True).distinct()[:200])
