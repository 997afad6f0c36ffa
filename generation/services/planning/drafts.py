"""Drafts: the cells of a run one after the other, as plain values, each with its problems.

Subjects are read in chunks, so that a run of any size needs bounded memory. Nothing here writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

from django.utils.translation import gettext as _

from campaigns import prompts
from campaigns.choices import SubjectKind
from campaigns.models import Subject
from campaigns.prompts import RenderedPrompt, listing
from campaigns.selectors import guides as guide_selectors
from generation.choices import PHOTO_AXIS, PHOTO_MARK, SEED_AXIS, RunShape
from generation.engines.base import CONTROL, SCENE, ImageRef, Spec
from generation.selectors import concepts, inputs, subjects
from generation.selectors.subjects import SubjectRow
from generation.services.planning import estimates, fingerprints
from generation.services.planning.plan_requests import GUIDE_PARAMETERS, AspectGroup, PlanRequest, master_size

CHUNK = 2000
#: Subjects that are loaded at once to check whether they are ready for a sample.
SAMPLE_CHUNK = 200
VALUES_KEY_LENGTH = 500
#: Roles that are filled by the cut-out of a photo; the others get the photo itself.
CUTOUT_ROLES = frozenset({"cutout", "mask"})


@dataclass(frozen=True)
class DraftJob:
    """One planned image. spec: canonical JSON of engines.base.Spec."""

    candidate: int
    seed: int
    spec: str
    fingerprint: str


@dataclass(frozen=True)
class Draft:
    """One planned cell with its jobs. problems: (kind, sentence); with a problem there are no jobs.

    cost and seconds are per job.
    """

    subject: SubjectRow
    values: Mapping[str, Any]
    values_key: str
    group: AspectGroup
    rendered: RenderedPrompt | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    jobs: tuple[DraftJob, ...] = ()
    batch_key: str = ""
    cost: Decimal = Decimal(0)
    seconds: float = 0.0
    problems: tuple[tuple[str, str], ...] = ()
    #: Its inputs: the feed values that the prompt reads; id and sha256 of the photo; sha256 of its cut-out if used.
    feed_values: Mapping[str, str] = field(default_factory=dict)
    photo: tuple[int | None, str, str] = (None, "", "")


@dataclass(frozen=True)
class SubjectVariant:
    """One subject with one set of values, before aspect groups. `row` counts from 1 in a list and is 0 in a matrix.

    aspect, size (width, height): those of a list's row; a row without them is made for all aspects.
    """

    subject: SubjectRow
    values: Mapping[str, Any]
    row: int = 0
    aspect: str = ""
    size: tuple[int, int] | None = None


class Drafter:
    """Make the drafts of one run. `unknown` collects rows and ids without a subject; `skipped_count` counts the
    subjects that a sample left out because they are not ready."""

    def __init__(self, request: PlanRequest) -> None:
        self.request, capabilities = request, request.capabilities
        self.unknown: list[tuple[str, str]] = []
        self.skipped_count = 0
        self._roles = request.image_roles
        self._names = inputs.used_names(request.source)
        #: Axes and row values that become parameters, because the engine obeys them by that name.
        self._injected = capabilities.obeys - {"prompt", "negative", SEED_AXIS} - set(request.source.parameters)
        #: Parameters that are colours, in which names of the brand's colour palette may be used.
        self._colours = {control.parameter for control in capabilities.controls if control.kind == "colour"}
        self._prefix = fingerprints.prefix(brand_id=request.campaign.brand_id, maker=request.maker)
        self._indifferent = fingerprints.neutral_values(capabilities)
        self._palette = guide_selectors.colours_by_name(request.guide) if request.guide else {}
        self._quotes: dict[str, tuple[Decimal, float]] = {}
        self._seen: set[tuple[int, str, str]] = set()

    def drafts(self) -> Iterator[Draft]:
        """Yield every cell, in the order of subjects (or rows), variants and aspects."""
        for wish in self._variants():
            sized = {**wish.values, "size": f"{wish.size[0]}x{wish.size[1]}"} if wish.size else wish.values
            values_key = prompts.values_key(sized)
            for group in self._groups(wish):
                if (wish.subject.id, group.aspect) not in self.request.covered:
                    yield self._draft(wish, values_key, group)

    def _groups(self, wish: SubjectVariant) -> Sequence[AspectGroup]:
        """Return the aspects that a wish is made for; a size in a list's row sets the size of the master."""
        if not wish.aspect:
            return self.request.groups
        named = [group for group in self.request.groups if group.aspect == wish.aspect]
        groups = named or [AspectGroup(wish.aspect, 0, 0, ())]
        if not wish.size:
            return groups
        width, height = master_size(*wish.size, self.request.capabilities)
        return [replace(group, width=width, height=height) for group in groups]

    def _variants(self) -> Iterator[SubjectVariant]:
        if self.request.shape == RunShape.LIST:
            yield from self._variants_of_list()
            return
        for subject in self._subjects():
            for variant in self.request.variants:
                yield SubjectVariant(subject, variant)

    def _subjects(self) -> Iterator[SubjectRow]:
        for pk, subject in self._load_in_chunks(self.subject_ids(), CHUNK):
            if subject is None:
                self.unknown.append((str(pk), _("There is no active subject with this id in this brand.")))
            else:
                yield subject

    def _load_in_chunks(self, ids: Sequence[int], size: int) -> Iterator[tuple[int, SubjectRow | None]]:
        for start in range(0, len(ids), size):
            chunk = ids[start : start + size]
            rows = self._load({"pk__in": chunk})
            yield from ((pk, rows.get(pk)) for pk in chunk)

    def subject_ids(self) -> Sequence[int]:
        """Return the ids of the subjects in key order; for a sample only the picked ones."""
        ids, sample = self.request.subject_ids, self.request.sample
        if ids is not None and not sample:
            return [pk for pk in dict.fromkeys(ids) if self._lacks_any(pk)]
        active = self.request.campaign.subjects.filter(is_active=True)
        candidates = active if ids is None else Subject.objects.filter(pk__in=ids)
        ordered = candidates.order_by("key", "pk").values_list("pk", "key")
        pairs = [pair for pair in ordered if self._lacks_any(pair[0])]
        return self._pick_sample(pairs, sample) if sample else [pk for pk, _key in pairs]

    def _pick_sample(self, pairs: Sequence[tuple[int, str]], size: int) -> list[int]:
        """Pick `size` subjects that are ready, by the hash of their keys, so that they are the same ones every time.

        If too few are ready, others fill the sample, so that the preview can say what they lack.
        """
        size = min(size, len(pairs))
        spread = sorted(pairs, key=lambda pair: hashlib.sha256(pair[1].encode()).digest())
        ready: list[int] = []
        unready: list[int] = []
        for pk, subject in self._load_in_chunks([pk for pk, _key in spread], max(size, SAMPLE_CHUNK)):
            (ready if subject is not None and self._is_ready(subject) else unready).append(pk)
            if len(ready) == size:
                break
        picked = set([*ready, *unready][:size])
        self.skipped_count = len(unready) - len(picked.intersection(unready))
        return [pk for pk, _key in pairs if pk in picked]

    def _is_ready(self, subject: SubjectRow) -> bool:
        """Return whether each of the subject's images can be made."""
        return not any(
            self._draft(SubjectVariant(subject, variant), prompts.values_key(variant), group).problems
            for variant in self.request.variants
            for group in self.request.groups
            if (subject.id, group.aspect) not in self.request.covered
        )

    def _lacks_any(self, subject_id: int) -> bool:
        """Return False if only missing images are requested and the subject has all of them, else True."""
        return any((subject_id, group.aspect) not in self.request.covered for group in self.request.groups)

    def _variants_of_list(self) -> Iterator[SubjectVariant]:
        numbered = list(enumerate(self.request.rows, start=1))
        for start in range(0, len(numbered), CHUNK):
            chunk = numbered[start : start + CHUNK]
            references = [row["subject"] for _number, row in chunk]
            by_id = self._load({"pk__in": [reference for reference in references if isinstance(reference, int)]})
            named = self._load({"key__in": [reference for reference in references if isinstance(reference, str)]})
            by_key = {subject.key: subject for subject in named.values()}
            for number, row in chunk:
                reference = row["subject"]
                subject = by_id.get(reference) if isinstance(reference, int) else by_key.get(str(reference))
                if subject is None:
                    message = _("Row %(number)d: there is no active subject %(subject)r in this brand.")
                    self.unknown.append((str(reference), message % {"number": number, "subject": reference}))
                    continue
                aspect, size = listing.image_aspect(row), listing.image_size(row)
                yield SubjectVariant(subject, listing.placeholders(row), number, aspect, size)

    def _load(self, where: Mapping[str, Any]) -> dict[int, SubjectRow]:
        return subjects.load(
            where,
            brand_id=self.request.campaign.brand_id,
            is_sandbox=self.request.is_sandbox,
            with_images=bool(self._roles),
        )

    def _draft(self, wish: SubjectVariant, values_key: str, group: AspectGroup) -> Draft:
        request, campaign = self.request, self.request.campaign
        draft = partial(Draft, wish.subject, wish.values, values_key, group)
        images, image_problems = self._images(wish)
        problems = [*self._cell_problems(wish, values_key, group), *image_problems]
        values = {"brand": campaign.brand.name, "campaign": campaign.name, **wish.subject.values, **wish.values}
        if lacking := prompts.find_missing_names(request.source, values):
            problems.append(("missing_value", _("No value for %(names)s.") % {"names": ", ".join(lacking)}))
        if problems:
            return draft(problems=tuple(problems))
        rendered = prompts.render(request.source, values)
        guide = request.guide if request.blocks_banned_words else None
        remarks = prompts.problems(rendered.text, guide) if guide else ()
        if banned := dict.fromkeys(remark.message for remark in remarks if remark.kind == "banned"):
            return draft(rendered=rendered, problems=tuple(("banned_word", message) for message in banned))
        parameters = self._parameters(wish, rendered)
        named, missing = self._concept_images(parameters)
        if missing:
            return draft(rendered=rendered, parameters=parameters, problems=missing)
        spec = Spec(
            prompt=rendered.text,
            negative=rendered.negative,
            width=group.width,
            height=group.height,
            seed=self._seed(wish, 1),
            parameters=parameters,
            images=images | named,
        )
        refusals = tuple(("engine", sentence) for sentence in request.engine.validate(spec))
        batch_key = fingerprints.short_key(request.engine.batch_key(spec))
        if batch_key not in self._quotes:
            self._quotes[batch_key] = estimates.quote(request.endpoint, request.engine.quote(spec))
        cost, seconds = self._quotes[batch_key]
        return draft(
            rendered=rendered,
            parameters=parameters,
            jobs=() if refusals else self._jobs(wish, spec),
            batch_key=batch_key,
            cost=cost,
            seconds=seconds,
            problems=refusals,
            # Values of axes come from no feed.
            feed_values={
                name: str(wish.subject.values.get(name) or "") for name in sorted(self._names - wish.values.keys())
            },
            photo=self._photo(wish) if images else (None, "", ""),
        )

    def _cell_problems(self, wish: SubjectVariant, values_key: str, group: AspectGroup) -> Iterator[tuple[str, str]]:
        if len(values_key) > VALUES_KEY_LENGTH:
            message = _("Its axis values are longer than %(n)d characters together.") % {"n": VALUES_KEY_LENGTH}
            yield "values", message
        seed = str(wish.values.get(SEED_AXIS, 0))
        if not seed.isdecimal() or int(seed[:20]) > prompts.MAX_SEED:
            message = _("Its seed is %(seed)r; give a whole number from 0 to %(highest)d.")
            yield "values", message % {"seed": seed, "highest": prompts.MAX_SEED}
        if not group.specs and not (wish.size and self.request.is_sandbox):
            aspects = ", ".join(aspect_group.aspect for aspect_group in self.request.groups)
            message = _("No output of this campaign is %(aspect)s; it wants %(aspects)s.")
            yield "values", message % {"aspect": group.aspect, "aspects": aspects}
        elif wish.size and (group.width < wish.size[0] or group.height < wish.size[1]):
            limits = f"{self.request.capabilities.max_width} × {self.request.capabilities.max_height}"
            message = _("%(endpoint)s makes images of at most %(limits)s pixels.")
            yield "values", message % {"endpoint": self.request.endpoint.name, "limits": limits}
        identity = (wish.subject.id, values_key, group.aspect)
        if identity in self._seen:
            yield "duplicate", _("Row %(row)d asks for the same image as an earlier row.") % {"row": wish.row}
        if self.request.shape == RunShape.LIST:
            self._seen.add(identity)

    def _images(self, wish: SubjectVariant) -> tuple[dict[str, ImageRef], list[tuple[str, str]]]:
        roles = self._roles
        if not roles:
            return {}, []
        if CONTROL in roles and self.request.capabilities.takes_maps and wish.subject.kind == SubjectKind.PRODUCT:
            return {}, [(concepts.MAPS.problem, str(concepts.NO_PRODUCT_MAP))]
        role = str(wish.values.get(PHOTO_AXIS, ""))
        named_role = "" if role.startswith(PHOTO_MARK) else role
        if (images := wish.subject.images.get(role)) is None:
            message = _("It has no photo of the role %(role)s yet.") if named_role else _("It has no photo yet.")
            return {}, [("missing_photo", message % {"role": named_role})]
        cutout = images.cutout
        if CUTOUT_ROLES.isdisjoint(roles):
            return dict.fromkeys(roles, images.photo), []
        if cutout is None:
            message = _("Its photo has no accepted cut-out.")
            if named_role:
                message = _("Its photo of the role %(role)s has no accepted cut-out.") % {"role": named_role}
            return {}, [("missing_cutout", message)]
        return {label: cutout if label in CUTOUT_ROLES else images.photo for label in roles}, []

    def _concept_images(self, parameters: Mapping[str, Any]) -> tuple[dict[str, ImageRef], tuple[tuple[str, str], ...]]:
        """Return, by role, the images of the concepts that a cell names, or the problems with them."""
        requested = [
            (lookup, parameters[name]) for lookup in self.request.named if (name := lookup.use.parameter) in parameters
        ]
        problems = tuple((lookup.use.problem, problem) for lookup, key in requested if (problem := lookup.problem(key)))
        return {} if problems else {lookup.use.role: lookup.images[key].ref for lookup, key in requested}, problems

    def _photo(self, wish: SubjectVariant) -> tuple[int, str, str]:
        """Return the id and the sha256 of the photo that a cell is made from, and the sha256 of its cut-out if used."""
        images = wish.subject.images[str(wish.values.get(PHOTO_AXIS, ""))]
        cutout = None if CUTOUT_ROLES.isdisjoint(self._roles) else images.cutout
        return images.photo_id, images.photo.sha256, cutout.sha256 if cutout else ""

    def _parameters(self, wish: SubjectVariant, rendered: RenderedPrompt) -> dict[str, Any]:
        request = self.request
        parameters = dict(rendered.parameters)
        parameters |= {name: wish.values[name] for name in self._injected & wish.values.keys()}
        for name in {lookup.use.parameter for lookup in request.named} & parameters.keys():
            key = str(parameters.pop(name)).strip()
            parameters |= {} if concepts.is_none(key) else {name: key}
        if request.guide is not None:
            for name, column in GUIDE_PARAMETERS.items():
                standard = getattr(request.guide, column)
                is_seen = SCENE not in parameters or name not in concepts.HIDDEN_BY_SCENE
                if is_seen and name in request.capabilities.obeys - parameters.keys() and standard not in ("", None):
                    parameters[name] = standard
        for name in self._colours & parameters.keys():
            # A colour name means the brand's colour, not the engine's colour of the same name.
            parameters[name] = self._palette.get(str(parameters[name]).casefold(), parameters[name])
        return parameters

    def _seed(self, wish: SubjectVariant, candidate: int) -> int:
        if SEED_AXIS in wish.values:
            return prompts.seed_for("fixed", base=int(wish.values[SEED_AXIS]), candidate=candidate)
        version = self.request.prompt_version
        return prompts.seed_for(
            version.seed_strategy,
            base=version.seed,
            subject_key=wish.subject.key,
            template_key=version.template.slug,
            candidate=candidate,
        )

    def _jobs(self, wish: SubjectVariant, spec: Spec) -> tuple[DraftJob, ...]:
        plain = spec.to_json()
        jobs = []
        for candidate in range(1, self.request.candidates + 1):
            seed = spec.seed if candidate == 1 else self._seed(wish, candidate)
            plain |= {"seed": seed, "candidate": candidate}
            text = fingerprints.canonical(plain)
            decisive = fingerprints.canonical({**plain, **self._indifferent}) if self._indifferent else text
            jobs.append(DraftJob(candidate, seed, text, fingerprints.fingerprint(self._prefix, decisive)))
        return tuple(jobs)
