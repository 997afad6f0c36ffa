"""The images that the rules of a destination send: as a query, for one version, and compared with what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db.models import Case, CharField, Count, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, NullIf
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.choices import SubjectKind
from campaigns.models import Campaign, OutputSpec, ReferencePhoto, Subject
from core.models import Brand
from generation.choices import AssetState
from generation.models import Asset, AssetVersion, Endpoint, Rendition
from review.choices import AbsenceCause, DesiredState, UpdateKind
from review.delivery.rules import CATEGORY_ATTRIBUTES, WITH, WITHOUT, FileRule, ImageFacts, Rules, find_category
from review.models import Decision, Delivery, Destination, DestinationUpdate

CATEGORIES_SECONDS = 300
"""Categories are read from all products of the brand; a form shows them as they were so long ago at most."""
MAX_CATEGORIES = 500
MAX_COUNTED = 10_000


@dataclass(frozen=True)
class Preview:
    """The images that rules would send: their number, the number of approved images, and the newest of them."""

    count: int
    total: int
    newest: Sequence[Asset]

    @property
    def others(self) -> int:
        return self.total - self.count


@dataclass(frozen=True)
class Drift:
    """The difference between what is at a destination and what its rules send, and the update that changes it.

    missing, excluded: counted up to one more than MAX_COUNTED.
    """

    missing: int
    excluded: int
    sending: DestinationUpdate | None
    recalling: DestinationUpdate | None

    @property
    def missing_words(self) -> str:
        return _count_words(self.missing)

    @property
    def excluded_words(self) -> str:
        return _count_words(self.excluded)


def facts_of(version: AssetVersion) -> ImageFacts:
    asset = version.asset
    category = find_category(asset.subject.attributes)
    return ImageFacts(asset.campaign.slug, asset.subject.kind, category, version.disclaimer)


def sends_version(destination: Destination, version: AssetVersion) -> bool:
    """Return whether the destination's rules send any file of the version. No query without rules."""
    if not destination.rules:
        return True
    specs = Rendition.objects.filter(version=version).values_list("output_spec__slug", flat=True).distinct()
    return Rules.read(destination.rules).sends(facts_of(version), specs)


def filter_sent(rows: QuerySet[Any], rules: Rules, *, asset: str = "", version: str = "current_version") -> Any:
    """Return those rows whose images the rules send. asset, version: paths from the rows to the asset and its version.

    The path to the asset ends with "__", or is "".
    """
    return _with_facts(rows, rules, asset, version).filter(_sent(rules, version))


def filter_kept_back(rows: QuerySet[Any], rules: Rules, *, asset: str, version: str) -> Any:
    """Return the other rows: those whose images the rules do not send."""
    return _with_facts(rows, rules, asset, version).exclude(_sent(rules, version))


def approved_images(brand: Brand) -> QuerySet[Asset]:
    """Return the approved images of a brand whose approvals have taken effect."""
    pending = Decision.objects.standing().filter(version=OuterRef("current_version"), consequences_at__isnull=True)
    rows: QuerySet[Asset] = Asset.objects.filter(brand=brand, state=AssetState.APPROVED, is_sandbox=False)
    return rows.exclude(current_version=None).exclude(Exists(pending))


def preview(brand: Brand, rules: Rules, *, limit: int = 12) -> Preview:
    """Return what the rules would send of the approved images. Two queries."""
    rows = Asset.objects.filter(brand=brand, state=AssetState.APPROVED, is_sandbox=False).exclude(current_version=None)
    sent = filter_sent(rows, rules)
    counted = _with_facts(rows, rules, "", "current_version")
    counts = counted.aggregate(count=Count("pk", filter=_sent(rules, "current_version")), total=Count("pk"))
    newest = sent.select_related("subject", "current_version__master", "current_version__job__endpoint", "campaign")
    return Preview(counts["count"], counts["total"], list(newest.order_by("-pk")[:limit]))


def missing_images(destination: Destination) -> QuerySet[Asset]:
    """Return the approved images that the rules send and that are not to be at the destination.

    Those that a person has taken down there, and those whose time is over, are not missing.
    """
    here = Delivery.objects.filter(asset=OuterRef("pk"), destination=destination)
    is_settled = Q(desired=DesiredState.PRESENT) | Q(absence=AbsenceCause.HAND) | Q(expires_at__lte=timezone.now())
    rows = approved_images(destination.brand).exclude(Exists(here.filter(is_settled)))
    today = destination.brand.local_date(timezone.now())
    photos = ReferencePhoto.objects.filter(pk=OuterRef("cell__inputs__photo_pk"), rights_end_on__lt=today)
    rows = rows.exclude(Exists(photos))
    if destination.ends_with_campaign:
        rows = rows.exclude(campaign__ends_on__lt=today)
    sent: QuerySet[Asset] = filter_sent(rows, Rules.read(destination.rules))
    return sent


def excluded_deliveries(destination: Destination) -> QuerySet[Delivery]:
    """Return the deliveries of images that are there, or on their way, and that the rules no longer send."""
    rows = Delivery.objects.filter(destination=destination, desired=DesiredState.PRESENT)
    if not destination.rules:
        return rows.none()
    kept_back: QuerySet[Delivery] = filter_kept_back(
        rows, Rules.read(destination.rules), asset="asset__", version="version"
    )
    return kept_back


def drift(destination: Destination) -> Drift:
    """Return how many images differ from what the rules send. Three queries."""
    updates = {
        update.kind: update for update in DestinationUpdate.objects.filter(destination=destination, ended_at=None)
    }
    return Drift(
        missing=missing_images(destination)[: MAX_COUNTED + 1].count(),
        excluded=excluded_deliveries(destination)[: MAX_COUNTED + 1].count(),
        sending=updates.get(UpdateKind.SEND),
        recalling=updates.get(UpdateKind.RECALL),
    )


def _count_words(count: int) -> str:
    return f"{count:,}" if count <= MAX_COUNTED else _("More than %(count)s") % {"count": f"{MAX_COUNTED:,}"}


def list_choices(brand: Brand) -> dict[str, list[tuple[str, str]]]:
    """Return the (value, label) that each condition of a rule may have in this brand."""
    return {name: list_values(brand) for name, list_values in _CHOICES.items()}


def is_known(brand: Brand, name: str, value: str) -> bool:
    """Return whether a condition of a rule can be met in this brand at all."""
    if name == "category":
        subjects = Subject.objects.filter(brand=brand).alias(category=_category(""))
        return subjects.filter(category=value).exists()
    return value in dict(_CHOICES[name](brand))


def _list_campaigns(brand: Brand) -> list[tuple[str, str]]:
    rows = Campaign.objects.filter(brand=brand, is_sandbox=False).order_by("-pk")
    return list(rows.values_list("slug", "name"))


def _list_specs(brand: Brand) -> list[tuple[str, str]]:
    rows = OutputSpec.objects.filter(campaign__brand=brand, campaign__is_sandbox=False).order_by("slug")
    return [(slug, slug) for slug in rows.values_list("slug", flat=True).distinct()]


def _list_disclaimers(brand: Brand) -> list[tuple[str, str]]:
    rows = Endpoint.objects.filter(Q(brand=brand) | Q(brand=None)).exclude(disclaimer="").order_by("disclaimer")
    words = [(text, f"“{text}”") for text in rows.values_list("disclaimer", flat=True).distinct()]
    return [(WITH, _("With a disclaimer")), (WITHOUT, _("Without a disclaimer")), *words]


_CHOICES: dict[str, Callable[[Brand], list[tuple[str, str]]]] = {
    "campaign": _list_campaigns,
    "spec": _list_specs,
    "kind": lambda brand: [(str(value), str(label)) for value, label in SubjectKind.choices],
    "category": lambda brand: [(name, name) for name in _list_categories(brand)],
    "disclaimer": _list_disclaimers,
}


def _list_categories(brand: Brand) -> list[str]:
    key = f"proofline:categories:{brand.pk}"
    categories: list[str] | None = cache.get(key)
    if categories is None:
        subjects = Subject.objects.filter(brand=brand).annotate(category=_category("")).exclude(category="")
        names = subjects.order_by("category").values_list("category", flat=True).distinct()
        categories = list(names[:MAX_CATEGORIES])
        cache.set(key, categories, CATEGORIES_SECONDS)
    return categories


def _with_facts(rows: QuerySet[Any], rules: Rules, asset: str, version: str) -> QuerySet[Any]:
    """Add the `ImageFacts` that the rules ask for, as columns that are not read."""
    names = {name for rule in rules.rules for name in rule.conditions}
    facts = _facts(asset, version)
    return rows.alias(**{f"fact_{name}": facts[name] for name in names})


def _facts(asset: str, version: str) -> dict[str, Any]:
    """Return how a query reads each of the `ImageFacts`; none of them is null."""
    paths = (f"{version}__job__endpoint__disclaimer", f"{asset}cell__run__endpoint__disclaimer")
    disclaimer = Coalesce(*paths, Value(""))
    return {
        "campaign": F(f"{asset}campaign__slug"),
        "kind": F(f"{asset}subject__kind"),
        "category": _category(f"{asset}subject__"),
        "disclaimer": disclaimer,
        "has_disclaimer": Case(When(Exact(disclaimer, Value("")), then=Value(False)), default=Value(True)),
    }


def _category(subject: str) -> Any:
    texts = [NullIf(KeyTextTransform(name, f"{subject}attributes"), Value("")) for name in CATEGORY_ATTRIBUTES]
    return Coalesce(*texts, Value(""), output_field=CharField())


def _sent(rules: Rules, version: str) -> Q:
    """Return the condition for images of which at least one file is sent: of a spec that rules name, or of another."""
    files = Rendition.objects.filter(version=OuterRef(version))
    if not (named := rules.named_specs):
        return _fits(rules.for_spec(""))
    others = Exists(files.exclude(output_spec__slug__in=named)) | ~Exists(files)
    sent = Q(others) & _fits(rules.for_spec(""))
    for spec in named:
        sent |= Q(Exists(files.filter(output_spec__slug=spec))) & _fits(rules.for_spec(spec))
    return sent


def _fits(rule: FileRule) -> Q:
    return _meets_one(rule.send) & ~_meets_one(rule.never)


def _meets_one(entries: Sequence[Mapping[str, str | bool]]) -> Q:
    meets = Q(pk__in=[])  # nothing
    for conditions in entries:
        meets |= Q(**{f"fact_{name}": value for name, value in conditions.items()}) if conditions else ~Q(pk__in=[])
    return meets
