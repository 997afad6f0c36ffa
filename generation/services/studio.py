"""Try-outs: list runs of the sandbox campaign, whose images do not go to review.

The prompt editor tries its prompt on a few subjects. The studio makes images from free prompts, repeats them on another
endpoint and saves the prompt: that is a version of the studio's own prompt template, and each image is a row with its
seed and its size.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns import prompts
from campaigns.choices import PhotoStatus, SeedStrategy
from campaigns.models import PromptTemplate, PromptVersion, ReferencePhoto, Studio, StylePreset, Subject
from campaigns.prompts import listing
from campaigns.services import photos
from campaigns.services import prompts as prompt_services
from campaigns.services.subjects import free_key
from core.access import Action, require
from core.errors import Invalid, NotFound, Problem
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.choices import PHOTO_AXIS, PHOTO_MARK, SEED_AXIS
from generation.engines.base import SCENE, Capabilities
from generation.models import Endpoint, Run
from generation.services import runs
from generation.services.planning import plan_requests, plans

MAX_IMAGES: Final = 8
MAX_SUBJECTS: Final = 12
MAX_TEXT_LENGTH: Final = 8000
NAME_LENGTH: Final = 120
#: Leaves room for the seeds of all images of one try-out.
MAX_SEED: Final = prompts.MAX_SEED - MAX_IMAGES
#: Of several images that an engine takes but does not need, the studio supplies the first.
ROLES: Final = ("reference", "init", "photo", "cutout")


@dataclass(frozen=True)
class TryOutRequest:
    """The request for one try-out. width, height: pixels; the engine comes as near as it can.

    seed: of the first image, each further image has the next one; None for a new seed. photo: an uploaded reference
    image. subject: a product instead, whose photo is used and whose values the prompt may name.
    """

    text: str
    width: int
    height: int
    negative: str = ""
    style: StylePreset | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    count: int = 1
    photo: ReferencePhoto | None = None
    subject: Subject | None = None


@dataclass(frozen=True)
class Reference:
    """The input image that an engine takes. role: the engine's name for it."""

    role: str
    is_needed: bool


def reference(capabilities: Capabilities) -> Reference | None:
    """Return how an engine uses one image of a product, None if it does not."""
    aside = {SCENE, "mask"}
    if needed := sorted(capabilities.needs_images - aside):
        return Reference(needed[0], True)
    optional = capabilities.optional_images - aside
    return next((Reference(role, False) for role in ROLES if role in optional), None)


def has_needed_input(wish: TryOutRequest, capabilities: Capabilities) -> bool:
    """Return whether the request has the input that the engine needs: a prompt, or an image of a product."""
    role = reference(capabilities)
    has_image = bool(wish.photo or wish.subject)
    has_words = bool(wish.text.strip()) if capabilities.obeys_prompt else has_image
    return has_words and (has_image or not (role and role.is_needed))


@transaction.atomic
def start(*, brand: Brand, wish: TryOutRequest, endpoint: Endpoint, by: User) -> Run:
    """Start to make the images of a request. Raises NotAllowed, or Invalid with the field, and then leaves no row."""
    studio = prompt_services.ensure_studio(brand=brand, by=by)
    capabilities = plan_requests.open_engine(endpoint).capabilities()
    _check(wish, studio, endpoint, capabilities)
    role = reference(capabilities)
    needs: dict[str, Any] = {"engine": endpoint.engine}
    if role and not role.is_needed and (wish.photo or wish.subject):
        needs["images"] = [role.role]
    version = prompt_services.find_or_add_version(
        studio=studio,
        by=by,
        text=wish.text.strip(),
        negative=wish.negative.strip() if "negative" in capabilities.obeys else "",
        style=wish.style,
        parameters=dict(wish.parameters),
        needs=needs,
    )
    try:
        run = plans.plan_tryout(
            brand=brand,
            prompt_version=version,
            endpoint=endpoint,
            rows=_rows(wish, studio, capabilities),
            by=by,
            name=_name(wish.text),
        )
    except Invalid as refusal:
        sentences = dict.fromkeys(problem.message for problem in refusal.problems)
        if any(problem.value == "missing_value" for problem in refusal.problems):
            hint = _(
                "Words in braces come from a product: take the photo of one that has them, or write {{ for a brace."
            )
            sentences[hint] = None
        raise Invalid(" ".join(sentences) or refusal.message, refusal.problems) from refusal
    return runs.release(run_id=run.pk, by=by, reuse_rejected=True)


@transaction.atomic
def try_prompt(
    *,
    template: PromptTemplate,
    fields: Mapping[str, Any],
    based_on: PromptVersion | None,
    subjects: Sequence[int],
    endpoint: Endpoint,
    by: User,
) -> tuple[Run, bool]:
    """Make one image (with its candidates) per subject; subject n gets the n-th variant of the axes.

    fields: as `prompts.add_version` takes them; they become the next draft if they differ from `based_on`. Returns the
    run, and whether its version is new. If it raises Invalid, NotAllowed or Conflict, neither of them is left.
    """
    require(by, Action.RUN_SANDBOX, template.brand)
    if not subjects:
        raise Invalid(_("Nothing to try."), [Problem("subjects", _("Tick at least one product to try it on."))])
    if len(subjects) > MAX_SUBJECTS:
        message = _("Try at most %(n)d products at once.") % {"n": MAX_SUBJECTS}
        raise Invalid(_("Too many to try."), [Problem("subjects", message)])
    version = _find_version(template, fields, based_on)
    is_new = version is None
    version = version or prompt_services.add_version(template_id=template.pk, by=by, **fields)
    run = plans.plan_tryout(
        brand=template.brand,
        prompt_version=version,
        endpoint=endpoint,
        rows=list_rows(version, subjects),
        by=by,
        name=f"Try of {version}",
    )
    return runs.release(run_id=run.pk, by=by, reuse_rejected=True), is_new


def list_rows(version: PromptVersion, subjects: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows of a list run: the n-th subject gets the n-th variant of the version's axes."""
    variants = prompts.expand_axes(version.axes) or [{}]
    return [{"subject": pk, **variants[at % len(variants)]} for at, pk in enumerate(subjects)]


def _find_version(
    template: PromptTemplate, fields: Mapping[str, Any], based_on: PromptVersion | None
) -> PromptVersion | None:
    """Return `based_on` if it has these fields. Raises NotFound if it is a version of another prompt."""
    if based_on is None:
        return None
    if based_on.template_id != template.pk:
        raise NotFound(_("%(prompt)s has no version %(id)s.") % {"prompt": template.name, "id": based_on.pk})
    style = fields.get("style")
    is_same = not style or (style.text, style.negative) == (based_on.style_text, based_on.style_negative)
    is_same = is_same and all(getattr(based_on, name) == value for name, value in fields.items() if name != "note")
    return based_on if is_same else None


@transaction.atomic
def repeat_on_endpoint(*, run_id: int, endpoint: Endpoint, by: User) -> Run:
    """Repeat a try-out on another endpoint, as far as it obeys prompt, seeds and size. Raises what `start` does."""
    run = get(run_id, by)
    capabilities = plan_requests.open_engine(endpoint).capabilities()
    wish = request_of_run(run)
    obeyed = {name: value for name, value in wish.parameters.items() if name in capabilities.obeys}
    return start(brand=run.campaign.brand, wish=replace(wish, parameters=obeyed), endpoint=endpoint, by=by)


@transaction.atomic
def save_prompt(
    *, run_id: int, by: User, template: PromptTemplate | None = None, name: str = "", seed: int | None = None
) -> PromptVersion:
    """Save the prompt of a try-out as the next version of `template`, or of a new template with this name.

    Its seed is fixed to `seed`, or to the first seed of the try-out. Raises NotFound, NotAllowed, Invalid.
    """
    run = get(run_id, by)
    brand = run.campaign.brand
    require(by, Action.EDIT_PROMPT, brand)
    if template is None:
        if not 0 < len(name.strip()) <= NAME_LENGTH:
            message = _("Give the new prompt a name of at most %(n)d characters, or choose one that is there.")
            message %= {"n": NAME_LENGTH}
            raise Invalid(message, [Problem("name", message)])
        stem = slugify(name)[:44].strip("-") or "prompt"
        used_slugs = PromptTemplate.objects.filter(brand=brand, slug__startswith=stem).values_list("slug", flat=True)
        slug = free_key(stem, set(used_slugs))
        template = prompt_services.create_template(brand=brand, slug=slug, name=name, by=by)
    elif template.brand_id != brand.pk or Studio.objects.filter(template=template).exists():
        message = _("There is no prompt %(prompt)r in %(brand)s.")
        raise NotFound(message % {"prompt": template.slug, "brand": brand.name})
    version, wish = run.prompt_version, request_of_run(run)
    fixed = seed if seed is not None else wish.seed
    return prompt_services.add_version(
        template_id=template.pk,
        by=by,
        text=version.text,
        negative=version.negative,
        style=version.style,
        parameters=version.parameters,
        needs=version.needs,
        note="Tried in the studio.",
        **({} if fixed is None else {"seed_strategy": SeedStrategy.FIXED, "seed": fixed}),
    )


def add_image(*, brand: Brand, data: bytes, file_name: str, by: User) -> ReferencePhoto:
    """Store a reference image, with a cut-out where a product stands out; equal files once. Raises as `attach`."""
    studio = prompt_services.ensure_studio(brand=brand, by=by)
    stem = file_name.replace("\\", "/").rsplit("/", 1)[-1][:200] or "image"
    return photos.attach(
        data=data, file_name=f"{hashlib.sha256(data).hexdigest()[:12]} {stem}", by=by, subject_id=studio.subject_id
    )


def get(run_id: int, by: User) -> Run:
    """Return a try-out that the person may see, with campaign, brand, prompt, style and endpoint. Raises NotFound."""
    rows = Run.objects.visible_to(by).select_related(
        "campaign__brand", "prompt_version__style", "prompt_version__template", "endpoint", "requested_by"
    )
    rows = rows.filter(pk=run_id, prompt_version__template__studio__isnull=False, comparison_column=None)
    run: Run = first_or_refuse(rows, _("There is no try %(id)s in the studio.") % {"id": run_id})
    return run


def request_of_run(run: Run) -> TryOutRequest:
    """Return the request of a try-out, so that it can be repeated. The size is the one that was made."""
    rows: Sequence[Mapping[str, Any]] = run.definition["rows"]
    first, version = rows[0], run.prompt_version
    width, height = listing.image_size(first) or (0, 0)
    mark = str(first.get(PHOTO_AXIS, ""))
    products = Subject.objects.filter(brand=run.campaign.brand, studio=None, is_active=True)
    return TryOutRequest(
        text=version.text,
        negative=version.negative,
        style=version.style,
        parameters=version.parameters,
        width=width,
        height=height,
        seed=first.get(SEED_AXIS),
        count=len(rows),
        photo=ReferencePhoto.objects.filter(pk=int(mark.removeprefix(PHOTO_MARK))).first() if mark else None,
        subject=products.filter(pk=first["subject"]).first(),
    )


def _check(wish: TryOutRequest, studio: Studio, endpoint: Endpoint, capabilities: Capabilities) -> None:
    problems = []
    if not wish.text.strip() and capabilities.obeys_prompt:
        problems.append(Problem("text", _("Say what the image shows.")))
    if len(wish.text) > MAX_TEXT_LENGTH or len(wish.negative) > MAX_TEXT_LENGTH:
        message = _("Words have at most %(n)s characters.") % {"n": f"{MAX_TEXT_LENGTH:,}"}
        problems.append(Problem("text", message))
    for name, value in (("width", wish.width), ("height", wish.height)):
        if not listing.SHORTEST <= value <= listing.LONGEST:
            message = _("Give a height of %(shortest)d to %(longest)d pixels.")
            if name == "width":
                message = _("Give a width of %(shortest)d to %(longest)d pixels.")
            message %= {"shortest": listing.SHORTEST, "longest": listing.LONGEST}
            problems.append(Problem(name, message, str(value)))
    if not 1 <= wish.count <= MAX_IMAGES:
        message = _("Make 1 to %(n)d images at once.") % {"n": MAX_IMAGES}
        problems.append(Problem("count", message, str(wish.count)))
    if wish.seed is not None and not 0 <= wish.seed <= MAX_SEED:
        message = _("Give a whole number from 0 to %(highest)d.") % {"highest": MAX_SEED}
        problems.append(Problem("seed", message, str(wish.seed)))
    role = reference(capabilities)
    if role and role.is_needed and not (wish.photo or wish.subject):
        message = _("%(endpoint)s works from a photo: choose a product, or drop an image of one.")
        problems.append(Problem("photo", message % {"endpoint": endpoint.name}))
    if wish.photo and (wish.photo.subject_id != studio.subject_id or wish.photo.status != PhotoStatus.READY):
        problems.append(Problem("photo", _("This reference image is not there any more; drop it again.")))
    if wish.subject and wish.subject.brand_id != studio.brand_id:
        problems.append(Problem("product", _("This product belongs to another brand.")))
    if problems:
        raise Invalid(problems[0].message, problems)


def _rows(wish: TryOutRequest, studio: Studio, capabilities: Capabilities) -> list[dict[str, Any]]:
    width, height = plan_requests.master_size(wish.width, wish.height, capabilities)
    row: dict[str, Any] = {"subject": studio.subject_id, "size": f"{width}x{height}"}
    if wish.subject is not None:
        row["subject"] = wish.subject.pk
    elif wish.photo is not None and reference(capabilities):
        row[PHOTO_AXIS] = f"{PHOTO_MARK}{wish.photo.pk}"
    if SEED_AXIS not in capabilities.obeys:
        return [row]  # all its images would be equal
    seed = secrets.randbelow(MAX_SEED + 1) if wish.seed is None else wish.seed
    return [{**row, SEED_AXIS: seed + number} for number in range(wish.count)]


def _name(text: str) -> str:
    one_line = " ".join(text.split())
    return f"Studio: {one_line if len(one_line) <= 80 else f'{one_line[:79]}…'}" if one_line else "Studio"
