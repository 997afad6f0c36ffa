"""Readiness of subjects: whether their photos are good enough for the output specs, and what they lack.

`of` looks at given subjects, two queries for any number. `ids` and `counts` answer the same for a whole brand in SQL,
for lists that filter by it; a test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from django.db import connection
from django.db.models import Prefetch
from django.db.models.expressions import RawSQL

from campaigns.choices import PhotoRole, PhotoStatus
from campaigns.models import Campaign, Cutout, OutputSpec, ReferencePhoto
from campaigns.photos.cutout import DOUBTFUL
from campaigns.selectors import guides
from core.models import Brand

MISSING, LOOK, SMALL, READY = "missing", "look", "small", "ready"
STATES: Final = (READY, LOOK, MISSING, SMALL)
WORDS: Final = {READY: "ready", LOOK: "needs a look", MISSING: "no photo", SMALL: "too small"}
#: The tone of the state's shape; see the tag `state`.
TONES: Final = {READY: "ready", LOOK: "flag", MISSING: "failed", SMALL: "flag"}
FILL = 0.82
"""Share of the frame that a product fills where no brand guide says otherwise."""
ENLARGED = 1.5
"""From how many times on an enlarged product looks soft: the limit that finished pictures are checked with."""


class Wanted(Protocol):
    """The size that a channel wants: an OutputSpec, or anything with its slug and its size in pixels."""

    slug: str
    width: int
    height: int


@dataclass(frozen=True)
class Shortfall:
    """One spec for which the product's photo is too small. product, drawn: width and height in pixels."""

    spec: str
    wanted: tuple[int, int]
    product: tuple[int, int]
    drawn: tuple[int, int]
    times: float

    @property
    def sentence(self) -> str:
        return (
            f"Too small for {self.spec} ({self.wanted[0]} × {self.wanted[1]} px): the product is {self.product[0]} × "
            f"{self.product[1]} px in its photo and is drawn {self.drawn[0]} × {self.drawn[1]} px, enlarged "
            f"{self.times:.1f} times. Ask for a photo on which it is {round(self.drawn[0] / ENLARGED)} px wide or more."
        )


@dataclass(frozen=True)
class RefusedPhoto:
    """A photo whose file could not be used, and why."""

    photo_id: int
    source: str
    reason: str


@dataclass(frozen=True)
class Readiness:
    """The readiness of a subject. state: "ready", "look", "missing" or "small", the first thing to mend.

    roles: of its ready photos. photo_id, cutout_id: what runs use, None without. confidence: of that cut-out, or of
    the newest where none is accepted. waiting: photos whose file is not here yet. findings: sentences, the worst first.
    """

    subject_id: int
    state: str
    roles: tuple[str, ...] = ()
    photo_id: int | None = None
    cutout_id: int | None = None
    confidence: float | None = None
    is_accepted: bool = False
    small: tuple[Shortfall, ...] = ()
    refused: tuple[RefusedPhoto, ...] = ()
    waiting: int = 0
    findings: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        return self.state == READY

    @property
    def word(self) -> str:
        return WORDS[self.state]

    @property
    def tone(self) -> str:
        return TONES[self.state]

    def has(self, role: str) -> bool:
        return role in self.roles


def of(
    subjects: Iterable[Any],
    *,
    specs: Sequence[Wanted] | Mapping[int, Sequence[Wanted]] = (),
    images_needed: Collection[str] = ("cutout",),
    fill: float = FILL,
) -> dict[int, Readiness]:
    """Readiness by subject id, for Subjects or ids of them; two queries. Rights are the caller's business.

    specs: what is wanted of all of them, or by subject id what is wanted of each (`specs_by_subject`).
    images_needed: the input images of the engine ("photo", "cutout", "mask"); empty for one that needs none, and then
    every subject is ready. fill: the guide's share of the frame, for how large the product will be drawn.
    """
    ids = [subject if isinstance(subject, int) else subject.pk for subject in subjects]
    if not images_needed:
        return {pk: Readiness(pk, READY) for pk in ids}
    photos: dict[int, list[ReferencePhoto]] = {pk: [] for pk in ids}
    cutouts = Prefetch("cutouts", Cutout.objects.order_by("-is_accepted", "-id"))
    rows = ReferencePhoto.objects.filter(subject_id__in=ids).exclude(status=PhotoStatus.REMOVED)
    for photo in rows.prefetch_related(cutouts).order_by("subject_id", "position", "id"):
        photos[photo.subject_id].append(photo)
    needs_cutout = bool({"cutout", "mask"} & set(images_needed))
    by_subject = specs if isinstance(specs, Mapping) else dict.fromkeys(ids, specs)
    return {
        pk: _judged(pk, rows, by_subject.get(pk, ()), fill, needs_cutout=needs_cutout) for pk, rows in photos.items()
    }


def used(photos: Sequence[ReferencePhoto]) -> ReferencePhoto | None:
    """The photo that runs use unless they ask for a role; `photos` in order, with their cut-outs prefetched."""
    there = [photo for photo in photos if photo.status == PhotoStatus.READY]
    with_cutout = [photo for photo in there if _accepted(photo)]
    fronts = [photo for photo in with_cutout if photo.role == PhotoRole.FRONT]
    return next(iter(fronts or with_cutout or there), None)


def needs_look(cutout: Cutout | None) -> bool:
    """True if a person should look at a photo's cut-out: none, not accepted, or accepted by nobody and doubtful."""
    if cutout is None or not cutout.is_accepted:
        return True
    return cutout.confidence < DOUBTFUL and cutout.accepted_by_id is None


def fill_of(brand: Brand) -> float:
    """The share of the frame that the brand's published guide asks for."""
    guide = guides.published(brand.pk)
    return guide.fill_ratio if guide else FILL


def specs_of(campaign_id: int) -> list[OutputSpec]:
    """The output specs of one campaign."""
    return list(OutputSpec.objects.filter(campaign_id=campaign_id).order_by("id"))


def specs_by_subject(subject_ids: Collection[int]) -> dict[int, list[OutputSpec]]:
    """Return, for each subject, the largest output spec of each aspect among the campaigns that it is in.

    Two queries. Sandbox campaigns do not count.
    """
    members = Campaign.subjects.through.objects.filter(subject_id__in=subject_ids, campaign__is_sandbox=False)
    campaigns: dict[int, list[int]] = {}
    for subject_id, campaign_id in members.values_list("subject_id", "campaign_id"):
        campaigns.setdefault(campaign_id, []).append(subject_id)
    found: dict[int, dict[str, OutputSpec]] = {pk: {} for pk in subject_ids}
    for spec in OutputSpec.objects.filter(campaign__in=campaigns).order_by("-width", "-height", "id"):
        for subject_id in campaigns[spec.campaign_id]:
            found[subject_id].setdefault(spec.aspect, spec)
    return {pk: list(by_aspect.values()) for pk, by_aspect in found.items()}


def ids(brand: Brand, kind: str, state: str, *, campaign_id: int | None = None, fill: float = FILL) -> RawSQL:
    """The active subjects of one kind in this state, for `filter(pk__in=…)`; by cut-outs, as packshots need them.

    campaign_id: only its subjects, by its output specs; None for all, each by those of the campaigns that it is in.
    """
    return RawSQL(  # noqa: S611
        f"SELECT subject_id FROM ({_STATES}) AS judged WHERE state = %s",  # noqa: S608 (our own text only)
        [*_parameters(brand, kind, campaign_id, fill), state],
    )


def counts(brand: Brand, kind: str, *, campaign_id: int | None = None, fill: float = FILL) -> dict[str, int]:
    """Return how many active subjects of one kind are in each state; `campaign_id` as in `ids`."""
    text = f"SELECT state, count(*) FROM ({_STATES}) AS judged GROUP BY state"  # noqa: S608 (our own text only)
    with connection.cursor() as cursor:
        cursor.execute(text, _parameters(brand, kind, campaign_id, fill))
        return dict.fromkeys(STATES, 0) | dict(cursor.fetchall())


# -- one subject ---------------------------------------------------------------------------------------------------


def _judged(
    pk: int, photos: Sequence[ReferencePhoto], specs: Sequence[Wanted], fill: float, *, needs_cutout: bool
) -> Readiness:
    ready = [photo for photo in photos if photo.status == PhotoStatus.READY]
    refused = tuple(
        RefusedPhoto(photo.pk, photo.shown_source, " ".join(photo.notes) or "It was refused.")
        for photo in photos
        if photo.status == PhotoStatus.REFUSED
    )
    waiting = sum(photo.status == PhotoStatus.PENDING for photo in photos)
    chosen = used(photos)
    if chosen is None:
        return Readiness(pk, MISSING, refused=refused, waiting=waiting, findings=(_missing(refused, waiting),))
    cutout = next(iter(chosen.cutouts.all()), None)
    doubt = _doubt(cutout) if needs_cutout else ""
    small = _shortfalls(chosen, cutout, specs, fill, needs_cutout=needs_cutout)
    findings = [doubt] if doubt else []
    findings += [one.sentence for one in small[:1]]
    findings += [f"{one.source} was refused: {one.reason}" for one in refused]
    return Readiness(
        pk,
        LOOK if doubt else SMALL if small else READY,
        roles=tuple(dict.fromkeys(photo.role for photo in ready)),
        photo_id=chosen.pk,
        cutout_id=cutout.pk if cutout and cutout.is_accepted else None,
        confidence=cutout.confidence if cutout else None,
        is_accepted=bool(cutout and cutout.is_accepted),
        small=small,
        refused=refused,
        waiting=waiting,
        findings=tuple(findings),
    )


def _missing(refused: Sequence[RefusedPhoto], waiting: int) -> str:
    if refused:
        return f"It has no photo that can be used. {refused[0].source} was refused: {refused[0].reason}"
    if waiting:
        return "Its photo is named, but the file is not here yet: send it in a ZIP or drop it on the product."
    return "It has no photo yet: drop one on the product."


def _doubt(cutout: Cutout | None) -> str:
    if cutout is None:
        return "Its photo has no cut-out: nothing stood out from the background. Paint one, or send your own."
    if not cutout.is_accepted:
        return f"Its cut-out is not accepted ({cutout.confidence:.0%} sure): accept or repair it."
    if needs_look(cutout):
        return f"Its cut-out is only {cutout.confidence:.0%} sure and nobody has looked at it yet."
    return ""


def _shortfalls(
    photo: ReferencePhoto, cutout: Cutout | None, specs: Sequence[Wanted], fill: float, *, needs_cutout: bool
) -> tuple[Shortfall, ...]:
    """The specs for which the product is too small, the worst first."""
    if needs_cutout and cutout is not None:
        left, top, right, bottom = cutout.box
        size, share = (right - left, bottom - top), fill
    else:
        size, share = (photo.width, photo.height), 1.0
    if min(size) < 1:
        return ()
    found = []
    for spec in specs:
        times = min(share * spec.width / size[0], share * spec.height / size[1])
        if times >= ENLARGED:
            drawn = round(size[0] * times), round(size[1] * times)
            found.append(Shortfall(spec.slug, (spec.width, spec.height), size, drawn, times))
    return tuple(sorted(found, key=lambda one: -one.times))


def _accepted(photo: ReferencePhoto) -> bool:
    return any(cutout.is_accepted for cutout in photo.cutouts.all())


# -- many subjects -------------------------------------------------------------------------------------------------

_STATES = f"""
SELECT subject_id, CASE
    WHEN photo_id IS NULL THEN '{MISSING}'
    WHEN cutout_id IS NULL OR (confidence < %s AND accepted_by_id IS NULL) THEN '{LOOK}'
    WHEN wide >= 1 AND high >= 1 AND EXISTS (
        SELECT 1 FROM campaigns_outputspec o
        JOIN campaigns_campaign_subjects m ON m.campaign_id = o.campaign_id
        JOIN campaigns_campaign c ON c.id = o.campaign_id
        WHERE m.subject_id = used.subject_id
          AND CASE WHEN %s::bigint IS NULL THEN NOT c.is_sandbox ELSE c.id = %s END
          AND least(%s * o.width / wide, %s * o.height / high) >= %s
    ) THEN '{SMALL}'
    ELSE '{READY}' END AS state
FROM (
    SELECT DISTINCT ON (s.id) s.id AS subject_id, p.id AS photo_id, c.id AS cutout_id,
           c.confidence, c.accepted_by_id,
           (c.box->>2)::float - (c.box->>0)::float AS wide, (c.box->>3)::float - (c.box->>1)::float AS high
    FROM campaigns_subject s
    LEFT JOIN campaigns_referencephoto p ON p.subject_id = s.id AND p.status = 'ready'
    LEFT JOIN campaigns_cutout c ON c.photo_id = p.id AND c.is_accepted
    WHERE s.brand_id = %s AND s.kind = %s AND s.is_active AND (
        %s::bigint IS NULL OR EXISTS (
            SELECT 1 FROM campaigns_campaign_subjects m WHERE m.campaign_id = %s AND m.subject_id = s.id
        )
    )
    ORDER BY s.id, (c.id IS NULL), (c.id IS NOT NULL AND p.role = 'front') DESC, p.position, p.id
) AS used
"""  # noqa: S608 (our own text only)


def _parameters(brand: Brand, kind: str, campaign_id: int | None, fill: float) -> list[Any]:
    return [
        DOUBTFUL, campaign_id, campaign_id, fill, fill, ENLARGED, brand.pk, kind, campaign_id, campaign_id
    ]  # fmt: skip
