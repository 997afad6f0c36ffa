"""Readiness of subjects for a prompt version on an engine: attributes that the prompt names, and photos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from campaigns import prompts
from campaigns.choices import SubjectKind
from campaigns.models import Campaign, OutputSpec, PromptVersion, Subject
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import prompts as prompt_selectors
from campaigns.selectors import readiness
from generation.engines.base import CONTROL, MAP, SCENE, Capabilities
from generation.models import Endpoint, Run
from generation.selectors import concepts, endpoints


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


def likely_endpoint(campaign: Campaign, version: PromptVersion) -> Endpoint | None:
    """Return the endpoint of the version's last run in this campaign, else the first one of the version's engine."""
    run = Run.objects.filter(campaign=campaign, prompt_version=version, endpoint__is_enabled=True).order_by("-id")
    last = run.select_related("endpoint").first()
    if last is not None:
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
        own_values = campaign_selectors.placeholder_values(
            key=subject.key, name=subject.name, kind=subject.kind, attributes=subject.attributes
        )
        has_no_map = is_own_map and subject.kind == SubjectKind.PRODUCT
        no_map = str(concepts.NO_PRODUCT_MAP) if has_no_map else missing[MAP]
        lacking = tuple(prompts.find_missing_names(source, {**shared, **own_values}))
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
