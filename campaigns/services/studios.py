"""A brand's studio: created when it is first needed. Free words become versions of its prompt."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from campaigns import events
from campaigns.choices import SubjectKind
from campaigns.models import PromptTemplate, PromptVersion, Studio, Subject
from campaigns.services import prompts, subjects
from core.access import Action, require
from core.events import publish
from core.models import Brand, User

NAME = "Free words"
SLUG = "free-words"
#: Two versions of the studio that agree in these fields count as the same words.
WORDING_DEFAULTS: dict[str, Any] = {"text": "", "negative": "", "parameters": {}, "needs": {}}


@transaction.atomic
def ensure_studio(*, brand: Brand, by: User) -> Studio:
    """Return the brand's studio, created if there is none yet. Raises NotAllowed."""
    require(by, Action.RUN_SANDBOX, brand)
    Brand.objects.select_for_update().get(pk=brand.pk)  # two people may come at the same time
    existing: Studio | None = _rows().filter(brand=brand).first()
    if existing is not None:
        return existing
    keys = set(Subject.objects.filter(brand=brand, kind=SubjectKind.CONCEPT).values_list("key", flat=True))
    slugs = set(PromptTemplate.objects.filter(brand=brand).values_list("slug", flat=True))
    subject = Subject.objects.create(
        brand=brand, kind=SubjectKind.CONCEPT, key=subjects.free_key(SLUG, keys), name=NAME, is_active=False
    )
    template = PromptTemplate.objects.create(brand=brand, slug=subjects.free_key(SLUG, slugs), name=NAME)
    made = Studio.objects.create(brand=brand, subject=subject, template=template)
    publish(events.StudioOpened.of(made, subject=subject.pk, template=template.pk), by=by)
    return _rows().get(pk=made.pk)


@transaction.atomic
def find_or_add_version(*, studio: Studio, by: User, **fields: Any) -> PromptVersion:
    """Return the version with exactly these words, an existing one if possible. `fields` are those of
    `prompts.add_version`. Raises NotAllowed and Invalid."""
    require(by, Action.RUN_SANDBOX, studio.brand)
    words = {**WORDING_DEFAULTS, **{name: fields[name] for name in WORDING_DEFAULTS if name in fields}}
    same = PromptVersion.objects.filter(
        template=studio.template, style=fields.get("style"), axes={}, **words, **prompts.style_words(fields)
    )
    existing: PromptVersion | None = same.order_by("number").first()
    return existing or prompts.add_version(template_id=studio.template_id, by=by, **fields)


def _rows() -> Any:
    return Studio.objects.select_related("brand", "subject", "template")
