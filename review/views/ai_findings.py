"""The state of this installation for each rule for AI-made images, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.urls import reverse
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.models import Brand
from review.models import Destination, ImageFeed
from review.selectors.ai_rules import DAYS, MOST_FILES, BrandFacts, DestinationFacts
from review.services.signing import SignerState, Trust

MOST_SPECS = 4


@dataclass(frozen=True)
class Finding:
    """One sentence about the state here. tone: "good", "warn", "bad" or "". place, url: what it is about."""

    tone: str
    text: str
    place: str = ""
    url: str = ""

    @property
    def needs_look(self) -> bool:
        return self.tone in {"warn", "bad"}


@dataclass(frozen=True)
class Situation:
    """Everything that the findings are about."""

    brand: Brand
    facts: BrandFacts
    signer: SignerState

    def at(self, destination: Destination, tone: str, text: str, part: str = "marks") -> Finding:
        url = reverse("destination", args=[self.brand.slug, destination.pk])
        return Finding(tone, text, destination.name, f"{url}#{part}" if part else url)

    def of(self, feed: ImageFeed, tone: str, text: str) -> Finding:
        return Finding(tone, text, feed.name, reverse("image_feed", args=[self.brand.slug, feed.pk]))


def find_signer(situation: Situation) -> list[Finding]:
    signer = situation.signer
    tones = {Trust.TRUSTED: "good", Trust.MISSING: "bad", Trust.ENDED: "bad"}
    return [Finding(tones.get(signer.trust, "warn"), _describe_signer(signer))]


def _describe_signer(signer: SignerState) -> str:
    named = {"name": signer.name, "day": date_format(signer.ends_at, "j M Y") if signer.ends_at else ""}
    sentences = {
        Trust.MISSING: _(
            "Nothing can sign, so no file is delivered. “manage.py check --deploy” tells the operator the cause."
        ),
        Trust.SELF_MADE: _(
            "A self-made certificate signs, which is for development: readers call it an unknown signer. The operator"
            " sets PROOFLINE_C2PA_CERTIFICATE."
        ),
        Trust.ENDED: _("The certificate of “%(name)s” ended on %(day)s. The operator has to renew it."),
        Trust.UNLISTED: _(
            "“%(name)s” signs, until %(day)s. None of the roots in PROOFLINE_C2PA_ANCHORS stands for it."
        ),
        Trust.TRUSTED: _("“%(name)s” signs, until %(day)s. A root in PROOFLINE_C2PA_ANCHORS stands for it."),
    }
    return sentences[signer.trust] % named


def find_time_stamps(situation: Situation) -> list[Finding]:
    no_watermark = Finding("", _("No image has a watermark."))
    if situation.signer.has_time_stamps:
        return [Finding("good", _("Signatures get a time stamp of an authority.")), no_watermark]
    missing = _("PROOFLINE_C2PA_TIME_STAMP_URL is not set, so signatures have no time stamp.")
    return [Finding("warn", missing), no_watermark]


def find_kept_marks(situation: Situation) -> list[Finding]:
    places = situation.facts.destinations
    return [_describe_marks(situation, place) for place in places] or [_no_destination()]


def _describe_marks(situation: Situation, place: DestinationFacts) -> Finding:
    marks = place.marks
    values = {"checked": f"{marks.checked:,}", "kept": f"{marks.kept:,}", "share": marks.percent_kept, "days": DAYS}
    if marks.checked:
        text = ngettext(
            "%(kept)s of %(checked)s file of the last %(days)s days kept all marks (%(share)s %%).",
            "%(kept)s of %(checked)s files of the last %(days)s days kept all marks (%(share)s %%).",
            marks.checked,
        )
        return situation.at(place.destination, "warn" if marks.damaged else "good", text % values + _say_cut(place))
    if marks.unknown:
        return situation.at(place.destination, "", _("What is served there cannot be compared."))
    return situation.at(place.destination, "", _("No file was delivered in the last %(days)s days.") % values)


def find_private_data(situation: Situation) -> list[Finding]:
    told = []
    for place in situation.facts.destinations:
        destination = place.destination
        words = {
            (True, True): _("Its files name the prompt and its writer."),
            (True, False): _("Its files name the prompt."),
            (False, True): _("Its files name the writer of the prompt."),
        }.get((destination.tells_prompt, destination.tells_prompt_writer))
        if words:
            told.append(situation.at(destination, "warn", words, part=""))
    return told or [Finding("good", _("No destination’s files name the prompt or its writer."))]


def find_disclaimers(situation: Situation) -> list[Finding]:
    """Return the endpoints with a disclaimer, and the destinations and feeds that may get their images."""
    facts = situation.facts
    if not facts.endpoints:
        return [Finding("", _("No endpoint has a disclaimer."))]
    found = [
        Finding(
            "",
            _("Its images have the disclaimer “%(words)s”.") % {"words": endpoint.disclaimer},
            endpoint.name,
            reverse("endpoint", args=[situation.brand.slug, endpoint.slug]),
        )
        for endpoint in facts.endpoints
    ]
    takers = [
        *(_describe_taker(situation, place) for place in facts.destinations if place.disclaimers),
        *(
            situation.of(feed, "warn", _("Images with a disclaimer may be in this feed."))
            for feed in facts.feeds
            if feed.takes_disclaimers
        ),
    ]
    kept_away = Finding("good", _("No destination and no feed gets images with a disclaimer."))
    return [*found, *(takers or [kept_away])]


def _describe_taker(situation: Situation, place: DestinationFacts) -> Finding:
    words = ", ".join(f"“{words}”" for words in place.disclaimers)
    return situation.at(place.destination, "warn", _("Images with %(words)s may go there.") % {"words": words}, "rules")


def find_labels_for_google(situation: Situation) -> list[Finding]:
    """Return where the field that Google asks for is lost: at any destination, and so in the feeds that name it."""
    places = {place.destination.pk: place for place in situation.facts.destinations}
    losing = [place for place in places.values() if place.marks.lost]
    found = [
        *(situation.at(place.destination, "warn", _describe_lost(place)) for place in losing),
        *(_describe_feed(situation, feed, places) for feed in situation.facts.google_feeds),
    ]
    return found or [_describe_no_loss(situation.facts)]


def _describe_feed(situation: Situation, feed: ImageFeed, places: Mapping[int, DestinationFacts]) -> Finding:
    if feed.destination is None:
        return situation.of(feed, "good", _("This feed names addresses of Proofline, which serve the field."))
    marks, named = places[feed.destination.pk].marks, {"place": feed.destination.name}
    if marks.lost:
        return situation.of(feed, "bad", _("This feed names addresses at %(place)s, where the field is lost.") % named)
    if marks.checked:
        text = _("This feed names addresses at %(place)s, where no file is known to have lost the field.")
        return situation.of(feed, "good", text % named)
    text = _("This feed names addresses at %(place)s; no file of the last days could be compared there.")
    return situation.of(feed, "", text % named)


def _describe_lost(place: DestinationFacts) -> str:
    text = ngettext(
        "%(lost)s of %(checked)s file of the last %(days)s days lost the field.",
        "%(lost)s of %(checked)s files of the last %(days)s days lost the field.",
        place.marks.checked,
    )
    counts = {"lost": f"{place.marks.lost:,}", "checked": f"{place.marks.checked:,}", "days": DAYS}
    return text % counts + _say_cut(place)


def _say_cut(place: DestinationFacts) -> str:
    if not place.is_cut:
        return ""
    return " " + _("Only the newest %(most)s files are counted.") % {"most": f"{MOST_FILES:,}"}


def _describe_no_loss(facts: BrandFacts) -> Finding:
    if not facts.destinations:
        return _no_destination()
    text = _("No file of the last %(days)s days is known to have lost the field.") % {"days": DAYS}
    return Finding("good" if any(place.marks.checked for place in facts.destinations) else "", text)


def find_small_specs(situation: Situation) -> list[Finding]:
    specs = situation.facts.small_specs
    if not specs:
        return [Finding("good", _("Every output spec has at least 500 × 500 px."))]
    found = [
        Finding(
            "warn",
            _("%(spec)s has %(width)s × %(height)s px.")
            % {"spec": spec.slug, "width": spec.width, "height": spec.height},
            spec.campaign.name,
            reverse("campaign_specs", args=[situation.brand.slug, spec.campaign.slug]),
        )
        for spec in specs[:MOST_SPECS]
    ]
    if more := len(specs[MOST_SPECS:]):
        text = ngettext("%(count)s more output spec is smaller.", "%(count)s more output specs are smaller.", more)
        found.append(Finding("warn", text % {"count": f"{more:,}"}))
    return found


def find_channel_rules(situation: Situation) -> list[Finding]:
    """Return whether each destination has rules that choose among the images."""
    places = situation.facts.destinations
    return [
        situation.at(
            place.destination,
            "",
            _("Its rules choose which images go there.") if place.has_rules else _("Every approved image goes there."),
            "rules",
        )
        for place in places
    ] or [_no_destination()]


def find_shopify(situation: Situation) -> list[Finding]:
    shops = [place for place in situation.facts.destinations if place.destination.kind == "shopify"]
    return [_describe_marks(situation, place) for place in shops] or [Finding("", _("No Shopify shop is set up."))]


def _no_destination() -> Finding:
    return Finding("", _("No destination is set up."))
