"""Test the page "Rules for AI images": the state of the signer, destinations, disclaimers, feeds and output specs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import docs
from core.models import Brand, User
from review.delivery.rules import Rules
from review.models import Destination
from review.selectors import ai_rules
from review.services import signing
from review.services.signing import Trust
from review.views.ai_findings import Finding
from review.views.ai_rules import RULES
from tests.review.test_kept_marks import deliver
from tests.support import certificates, factories

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]


@pytest.fixture
def shop(brand: Brand) -> Destination:
    return factories.DestinationFactory(brand=brand, name="Shop in Porto", slug="porto", kind="shopify")


@pytest.fixture
def read(brand: Brand, viewer: User, page_client: Pages) -> Callable[[], dict[str, list[tuple[str, str]]]]:
    """Return `read()`: the (tone, sentence) of each finding by the slug of its rule, as a viewer sees the page."""

    def read() -> dict[str, list[tuple[str, str]]]:
        rows = page_client(viewer).get(reverse("ai_rules", args=[brand.slug])).context["rows"]
        return {rule.slug: [(found.tone, words(found)) for found in findings] for rule, findings in rows}

    return read


def words(found: Finding) -> str:
    return f"{found.place}: {found.text}" if found.place else found.text


def use_signer(settings: Any, **values: str) -> None:
    settings.PROVENANCE = settings.PROVENANCE | values


# -- the signer --------------------------------------------------------------------------------------------------------


def test_a_self_made_signer_needs_a_look(read: Any) -> None:
    assert signing.inspect_signer().trust == Trust.SELF_MADE
    [(tone, text)] = read()["marking"]
    assert tone == "warn" and "self-made" in text and "PROOFLINE_C2PA_CERTIFICATE" in text


def test_a_self_made_signer_stays_one_beside_other_trusted_roots(settings: Any) -> None:
    use_signer(settings, anchors=certificates.issue().root)
    assert signing.inspect_signer().trust == Trust.SELF_MADE


def test_a_signer_is_trusted_if_its_root_is(settings: Any, read: Any) -> None:
    issued = certificates.issue("Acme GmbH")
    use_signer(settings, **issued.settings)
    assert signing.inspect_signer().trust == Trust.UNLISTED
    assert read()["marking"][0][0] == "warn"
    use_signer(settings, anchors=certificates.issue().root)  # another authority of the same name
    assert signing.inspect_signer().trust == Trust.UNLISTED
    use_signer(settings, anchors=f"{certificates.issue().root}{issued.root}")
    assert signing.inspect_signer().trust == Trust.TRUSTED
    [(tone, text)] = read()["marking"]
    assert tone == "good" and "“Acme GmbH” signs" in text


def test_a_signer_whose_chain_is_not_one_is_not_trusted(settings: Any) -> None:
    first, second = certificates.issue(), certificates.issue()
    use_signer(settings, certificate=first.chain + second.chain, key=first.key, anchors=second.root)
    assert signing.inspect_signer().trust == Trust.UNLISTED


@pytest.mark.parametrize("values", [{"certificate": "/nowhere/chain.pem"}, {"certificate": "-----BEGIN x", "key": "k"}])
def test_without_a_signer_the_page_says_so_and_names_no_file(
    values: dict[str, str], settings: Any, read: Any, brand: Brand, viewer: User, page_client: Pages
) -> None:
    use_signer(settings, **values)
    assert signing.inspect_signer().problem
    [(tone, text)] = read()["marking"]
    assert tone == "bad" and "no file is delivered" in text
    page = page_client(viewer).get(reverse("ai_rules", args=[brand.slug])).content.decode()
    assert "/nowhere" not in page


def test_time_stamps_are_said_to_be_on_or_off(settings: Any, read: Any) -> None:
    assert read()["time-stamp"][0][0] == "warn"
    issued = certificates.issue()
    use_signer(settings, **issued.settings, time_stamp_url="http://tsa.example/")
    assert read()["time-stamp"][0] == ("good", "Signatures get a time stamp of an authority.")


# -- destinations, disclaimers, feeds ----------------------------------------------------------------------------------


def test_a_destination_that_loses_marks_comes_first(brand: Brand, shop: Destination, read: Any) -> None:
    good = factories.DestinationFactory(brand=brand, name="Archive", kind="folder")
    deliver(good, "kept")
    deliver(shop, "kept", "label", "lost")
    deliver(shop, "lost", days_ago=31)
    found = read()
    assert found["kept"] == [
        ("warn", "Shop in Porto: 1 of 3 files of the last 30 days kept all marks (33 %)."),
        ("good", "Archive: 1 of 1 file of the last 30 days kept all marks (100 %)."),
    ]
    assert found["shopify"] == found["kept"][:1]
    assert found["google-field"][0] == ("warn", "Shop in Porto: 1 of 3 files of the last 30 days lost the field.")


def test_of_very_many_files_the_newest_are_counted_and_it_says_so(
    shop: Destination, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ai_rules, "MOST_FILES", 3)
    deliver(shop, "lost", days_ago=2)
    deliver(shop, "kept", "")
    assert "newest" in read()["kept"][0][1]  # it cannot know that these are all
    deliver(shop, "kept", "kept", "kept", days_ago=1)
    [(tone, text)] = read()["kept"]
    assert tone == "good" and text.startswith("Shop in Porto: 2 of 2 files of the last 30 days kept")


def test_a_label_that_is_left_is_enough_for_google(brand: Brand, shop: Destination, read: Any) -> None:
    deliver(shop, "label")
    found = read()
    assert found["kept"][0][0] == "warn" and found["google-field"][0][0] == "good"


def test_a_google_feed_with_addresses_of_a_losing_destination_is_named(
    brand: Brand, shop: Destination, read: Any
) -> None:
    factories.ImageFeedFactory(brand=brand, name="Main feed", destination=shop)
    factories.ImageFeedFactory(brand=brand, name="Own addresses", takes_disclaimers=True)
    factories.ImageFeedFactory(brand=brand, name="For programs", layout="json_file", destination=shop)
    deliver(shop, "lost")
    found = read()["google-field"]
    assert [tone for tone, _text in found] == ["bad", "warn", "good"]
    assert found[0][1] == "Main feed: This feed names addresses at Shop in Porto, where the field is lost."
    assert "Shop in Porto: 1 of 1 file" in found[1][1] and "addresses of Proofline" in found[2][1]


@pytest.mark.parametrize(("marks", "tone", "words"), [("label", "good", "no file is known"), ("", "", "be compared")])
def test_a_google_feed_claims_no_more_than_is_known(
    marks: str, tone: str, words: str, brand: Brand, shop: Destination, read: Any
) -> None:
    factories.ImageFeedFactory(brand=brand, name="Main feed", destination=shop)
    deliver(shop, marks)
    [(found, text)] = read()["google-field"]
    assert found == tone and words in text


def test_what_cannot_be_compared_and_what_is_new_is_not_called_kept(brand: Brand, shop: Destination, read: Any) -> None:
    factories.DestinationFactory(brand=brand, name="Archive")
    deliver(shop, "", "-")
    assert [(tone, "100 %" in text) for tone, text in read()["kept"]] == [("", False), ("", False)]


def test_without_a_destination_nothing_is_claimed(read: Any) -> None:
    found = read()
    for slug in ("kept", "marketplaces", "google-field"):
        assert found[slug] == [("", "No destination is set up.")], slug


def test_destinations_that_tell_the_prompt_are_named(brand: Brand, shop: Destination, read: Any) -> None:
    assert read()["private"][0][0] == "good"
    Destination.objects.filter(pk=shop.pk).update(tells_prompt=True, tells_prompt_writer=True)
    assert read()["private"] == [("warn", "Shop in Porto: Its files name the prompt and its writer.")]


def test_disclaimers_are_named_with_where_they_may_go(
    brand: Brand, other_brand: Brand, shop: Destination, read: Any
) -> None:
    assert read()["disclosure"] == [("", "No endpoint has a disclaimer.")]
    factories.EndpointFactory(name="Demo model", disclaimer="demo model", brand=brand)
    factories.EndpointFactory(name="Foreign", disclaimer="foreign", brand=other_brand)
    assert read()["disclosure"] == [
        ("warn", "Shop in Porto: Images with “demo model” may go there."),
        ("", "Demo model: Its images have the disclaimer “demo model”."),
    ]
    Destination.objects.update(rules=[{"effect": "never", "disclaimer": "with"}])
    assert read()["disclosure"][1:] == [("good", "No destination and no feed gets images with a disclaimer.")]
    factories.ImageFeedFactory(brand=brand, name="Feed", takes_disclaimers=True)
    assert read()["disclosure"][:1] == [("warn", "Feed: Images with a disclaimer may be in this feed.")]


@pytest.mark.parametrize(
    ("rules", "keeps_away"),
    [
        ([], False),
        ([{"effect": "never", "disclaimer": "with"}], True),
        ([{"effect": "never", "disclaimer": "demo model"}], True),
        ([{"effect": "never", "disclaimer": "another"}], False),
        ([{"effect": "never", "disclaimer": "without"}], False),
        ([{"effect": "never", "disclaimer": "with", "campaign": "autumn"}], False),
        ([{"effect": "never", "disclaimer": "with", "spec": "web"}], False),
        ([{"effect": "send", "disclaimer": "without"}], True),
        ([{"effect": "send", "disclaimer": "another", "kind": "product"}], True),
        ([{"effect": "send", "disclaimer": "without"}, {"effect": "send", "campaign": "autumn"}], False),
    ],
)
def test_rules_keep_a_disclaimer_away_only_if_nothing_lets_it_through(
    rules: list[dict[str, str]], keeps_away: bool
) -> None:
    assert Rules.read(rules).keeps_away("demo model") is keeps_away


def test_small_output_specs_are_counted(brand: Brand, read: Any) -> None:
    assert read()["google-size"][0][0] == "good"
    campaign = factories.CampaignFactory(brand=brand, name="Autumn")
    for number in range(6):
        factories.OutputSpecFactory(campaign=campaign, slug=f"thumb-{number}", width=400, height=900)
    factories.OutputSpecFactory(campaign=campaign, slug="web", width=500, height=500)
    found = read()["google-size"]
    assert found[0] == ("warn", "Autumn: thumb-0 has 400 × 900 px.") and found[-1][1].startswith("2 more")


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_is_linked_where_people_look(
    brand: Brand, shop: Destination, viewer: User, page_client: Pages
) -> None:
    client, address = page_client(viewer), reverse("ai_rules", args=[brand.slug])
    for page in (reverse("verify", args=[brand.slug]), reverse("destination", args=[brand.slug, shop.pk])):
        assert client.get(page).content.decode().count(f'href="{address}"') == 2, page  # also in the menu
    found = client.get(reverse("palette", args=[brand.slug]), {"q": "rules for"}).json()["results"]
    assert [each["href"] for each in found] == [address]


def test_only_people_of_the_brand_see_it(brand: Brand, other_brand: Brand, viewer: User, page_client: Pages) -> None:
    factories.DestinationFactory(brand=other_brand, name="Foreign shop")
    client = page_client(viewer)
    assert client.get(reverse("ai_rules", args=[other_brand.slug])).status_code == 404
    assert "Foreign shop" not in client.get(reverse("ai_rules", args=[brand.slug])).content.decode()
    assert Client().get(reverse("ai_rules", args=[brand.slug])).status_code == 302


def test_it_costs_the_same_for_any_number_of_destinations(brand: Brand, lead: User, page_client: Pages) -> None:
    client, address = page_client(lead), reverse("ai_rules", args=[brand.slug])
    counts = []
    for size in (1, 5):
        for _more in range(size):
            shop = factories.DestinationFactory(brand=brand, kind="shopify")
            deliver(shop, "lost", "kept")
            factories.ImageFeedFactory(brand=brand, destination=shop, takes_disclaimers=True)
            factories.EndpointFactory(disclaimer="demo model", brand=brand)
            factories.OutputSpecFactory(campaign__brand=brand, width=100)
        client.get(address)
        with CaptureQueriesContext(connection) as queries:
            client.get(address)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12, counts


def test_the_documentation_has_every_rule() -> None:
    page = (Path(docs.__file__).parent / "compliance.md").read_text()
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")][1:]
    assert rows == [str(rule.name) for rule in RULES]
