"""Readiness of subjects: whether their photos are good enough for the output specs, and what they lack.

`assess` checks given subjects with two queries for any number. `ids_sql` and `count_by_state` do the same for a whole
brand in SQL, for lists that filter by readiness; a test compares both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Prefetch
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.choices import PhotoRole, PhotoStatus
from campaigns.models import Campaign, Cutout, OutputSpec, ReferencePhoto
from campaigns.photos.cutout import LOW_CONFIDENCE
from campaigns.selectors import guides
from core import sql
from core.models import Brand

MISSING, LOOK, SMALL, READY = "missing", "look", "small", "ready"
STATES: Final = (READY, LOOK, MISSING, SMALL)
WORDS: Final = {
    READY: gettext_lazy("ready"),
    LOOK: gettext_lazy("needs a look"),
    MISSING: gettext_lazy("no photo"),
    SMALL: gettext_lazy("too small"),
}
TONES: Final = {READY: "ready", LOOK: "flag", MISSING: "failed", SMALL: "flag"}  # see the tag `state`
DEFAULT_FILL = 0.82  # the share of the frame that a product fills, if no brand guide sets another
SOFT_ENLARGEMENT = 1.5  # from here a product looks soft; also the threshold in the check of finished images


@dataclass(frozen=True)
class Readiness:
    """The readiness of a subject. state: one of STATES; names the first thing to fix. findings: the worst first."""

    state: str
    findings: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        return self.state == READY

    @property
    def word(self) -> str:
        return str(WORDS[self.state])

    @property
    def tone(self) -> str:
        return TONES[self.state]


def assess(
    subjects: Iterable[Any],
    *,
    specs: Sequence[OutputSpec] | Mapping[int, Sequence[OutputSpec]] = (),
    images_needed: Collection[str] = ("cutout",),
    fill: float = DEFAULT_FILL,
) -> dict[int, Readiness]:
    """Return the readiness by subject id, for Subjects or their ids. Two queries. The caller checks rights.

    specs: the output specs of all subjects, or a mapping by subject id (`specs_by_subject`). images_needed: the input
    images of the engine ("photo", "cutout", "mask"); if it is empty, every subject is ready. fill: the guide's share of
    the frame, which decides how large the product is drawn.
    """
    ids = [subject if isinstance(subject, int) else subject.pk for subject in subjects]
    if not images_needed:
        return dict.fromkeys(ids, Readiness(READY))
    photos: dict[int, list[ReferencePhoto]] = {pk: [] for pk in ids}
    cutouts = Prefetch("cutouts", Cutout.objects.order_by("-is_accepted", "-id"))
    rows = ReferencePhoto.objects.filter(subject_id__in=ids).exclude(status=PhotoStatus.REMOVED)
    for photo in rows.prefetch_related(cutouts).order_by("subject_id", "position", "id"):
        photos[photo.subject_id].append(photo)
    needs_cutout = bool({"cutout", "mask"} & set(images_needed))
    by_subject = specs if isinstance(specs, Mapping) else dict.fromkeys(ids, specs)
    return {
        pk: _assess_subject(held, by_subject.get(pk, ()), fill, needs_cutout=needs_cutout)
        for pk, held in photos.items()
    }


def get_used_photo(photos: Iterable[ReferencePhoto]) -> ReferencePhoto | None:
    """Return the photo that runs use by default. `photos` are in order, with cut-outs prefetched."""
    there = [photo for photo in photos if photo.status == PhotoStatus.READY]
    with_cutout = [photo for photo in there if any(cutout.is_accepted for cutout in photo.cutouts.all())]
    fronts = [photo for photo in with_cutout if photo.role == PhotoRole.FRONT]
    return next(iter(fronts or with_cutout or there), None)


def needs_review(cutout: Cutout | None) -> bool:
    """True if the cut-out is missing, not accepted, or accepted only automatically with low confidence."""
    if cutout is None or not cutout.is_accepted:
        return True
    return cutout.confidence < LOW_CONFIDENCE and cutout.accepted_by_id is None


def get_fill(brand: Brand) -> float:
    """Return the share of the frame that a product fills in the brand's published guide, or DEFAULT_FILL."""
    guide = guides.get_published(brand.pk)
    return guide.fill_ratio if guide else DEFAULT_FILL


def specs_by_subject(subject_ids: Collection[int]) -> dict[int, list[OutputSpec]]:
    """Return, by subject, the largest spec of each aspect among its campaigns without the sandbox. Two queries."""
    members = Campaign.subjects.through.objects.filter(subject_id__in=subject_ids, campaign__is_sandbox=False)
    campaigns: dict[int, list[int]] = {}
    for subject_id, campaign_id in members.values_list("subject_id", "campaign_id"):
        campaigns.setdefault(campaign_id, []).append(subject_id)
    specs: dict[int, dict[str, OutputSpec]] = {pk: {} for pk in subject_ids}
    for spec in OutputSpec.objects.filter(campaign__in=campaigns).order_by("-width", "-height", "id"):
        for subject_id in campaigns[spec.campaign_id]:
            specs[subject_id].setdefault(spec.aspect, spec)
    return {pk: list(by_aspect.values()) for pk, by_aspect in specs.items()}


def ids_sql(
    brand: Brand, kind: str, state: str, *, campaign_id: int | None = None, fill: float = DEFAULT_FILL
) -> RawSQL:
    """Return SQL for the active subjects of one kind in this state, for `filter(pk__in=…)`; cut-outs are required.

    campaign_id: only its subjects, checked by its output specs. None: all subjects, each checked by the specs of its
    campaigns.
    """
    return RawSQL(  # noqa: S611
        f"SELECT subject_id FROM ({_STATES}) AS judged WHERE state = %s",  # noqa: S608 (our own text only)
        [*_parameters(brand, kind, campaign_id, fill), state],
    )


def count_by_state(
    brand: Brand, kind: str, *, campaign_id: int | None = None, fill: float = DEFAULT_FILL
) -> dict[str, int]:
    """Count the active subjects of one kind in each state; `campaign_id` as in `ids_sql`."""
    text = f"SELECT state, count(*) FROM ({_STATES}) AS judged GROUP BY state"  # noqa: S608 (our own text only)
    return dict.fromkeys(STATES, 0) | dict(sql.rows(text, _parameters(brand, kind, campaign_id, fill)))


def _assess_subject(
    photos: Sequence[ReferencePhoto], specs: Sequence[OutputSpec], fill: float, *, needs_cutout: bool
) -> Readiness:
    refused = [
        _("%(photo)s was refused: %(reason)s")
        % {"photo": photo.redacted_source, "reason": " ".join(photo.notes) or _("It was refused.")}
        for photo in photos
        if photo.status == PhotoStatus.REFUSED
    ]
    used = get_used_photo(photos)
    if used is None:
        is_awaited = any(photo.status == PhotoStatus.PENDING for photo in photos)
        return Readiness(MISSING, (_missing(refused, is_awaited=is_awaited),))
    cutout = next(iter(used.cutouts.all()), None)
    unsure = _unsure(cutout) if needs_cutout else ""
    small = _too_small(used, cutout if needs_cutout else None, specs, fill)
    state = LOOK if unsure else SMALL if small else READY
    return Readiness(state, tuple(sentence for sentence in (unsure, small, *refused) if sentence))


def _missing(refused: Sequence[str], *, is_awaited: bool) -> str:
    if refused:
        return _("It has no photo that can be used. %(refusal)s") % {"refusal": refused[0]}
    if is_awaited:
        return _("Its photo is named, but the file is not here yet: send it in a ZIP or drop it on the product.")
    return _("It has no photo yet: drop one on the product.")


def _unsure(cutout: Cutout | None) -> str:
    if cutout is None:
        return _("Its photo has no cut-out: nothing stood out from the background. Paint one, or send your own.")
    percent = f"{cutout.confidence:.0%}"
    if not cutout.is_accepted:
        return _("Its cut-out is not accepted (%(percent)s sure): accept or repair it.") % {"percent": percent}
    if needs_review(cutout):
        return _("Its cut-out is only %(percent)s sure and nobody has looked at it yet.") % {"percent": percent}
    return ""


def _too_small(photo: ReferencePhoto, cutout: Cutout | None, specs: Sequence[OutputSpec], fill: float) -> str:
    """Return a sentence about the spec for which the product is enlarged most, or ""; without cut-out, the photo."""
    if cutout is not None:
        left, top, right, bottom = cutout.box
        width, height, share = right - left, bottom - top, fill
    else:
        width, height, share = photo.width, photo.height, 1.0
    if not specs or min(width, height) < 1:
        return ""
    enlargements = [min(share * spec.width / width, share * spec.height / height) for spec in specs]
    times = max(enlargements)
    if times < SOFT_ENLARGEMENT:
        return ""
    spec = specs[enlargements.index(times)]
    return _(
        "Too small for %(spec)s (%(size)s px): the product is %(product)s px in its photo and is drawn %(drawn)s px, "
        "enlarged %(times)s times. Ask for a photo on which it is %(least)s px wide or more."
    ) % {
        "spec": spec.slug,
        "size": f"{spec.width} × {spec.height}",
        "product": f"{width} × {height}",
        "drawn": f"{round(width * times)} × {round(height * times)}",
        "times": f"{times:.1f}",
        "least": round(round(width * times) / SOFT_ENLARGEMENT),
    }


# By hand, because the ORM cannot filter the rows of a DISTINCT ON, here the photo that a subject's runs use.
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
        LOW_CONFIDENCE, campaign_id, campaign_id, fill, fill, SOFT_ENLARGEMENT, brand.pk, kind, campaign_id, campaign_id
    ]  # fmt: skip
