"""Tests that a brand delivers only into its own folders and prefixes, for new and old destinations and any path."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from core.errors import Invalid
from core.models import Brand
from review.delivery.base import DeliveryError
from review.delivery.hot_folder.places import DirectoryStorage
from review.models import Delivery, Destination
from review.services import brand_folders, consequences, decisions, deliveries, destinations
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(tmp_path: Path, settings: Any) -> Path:
    """Return the configured root folder, with a folder of the other brand in it."""
    top = tmp_path / "handover"
    top.mkdir()
    settings.PROOFLINE = settings.PROOFLINE | {"handover_folders": [str(top)]}
    return top


@pytest.fixture
def acme(root: Path) -> Brand:
    return factories.BrandFactory(slug="acme", name="Acme")


@pytest.fixture
def shop(root: Path) -> Brand:
    brand = factories.BrandFactory(slug="shop", name="Shop")
    (root / "shop").mkdir()
    return brand


@pytest.fixture
def lead(acme: Brand, person: Callable[..., Any]) -> Any:
    return person("lead", brand=acme)


def link_into_the_other(root: Path) -> str:
    (root / "acme").mkdir()
    (root / "acme" / "out").symlink_to(root / "shop")
    return str(root / "acme" / "out")


def link_instead_of_the_own(root: Path) -> str:
    (root / "acme").symlink_to(root / "shop")
    return str(root / "acme")


def circle(root: Path) -> str:
    (root / "acme").mkdir()
    (root / "acme" / "round").symlink_to(root / "acme" / "round")
    (root / "acme" / "back").symlink_to(root)
    return str(root / "acme" / "back" / "shop")


FOREIGN: dict[str, Callable[[Path], str]] = {
    "the other brand's folder": lambda root: f"{root}/shop",
    "a folder in the other brand's": lambda root: f"{root}/shop/images",
    "the root of all brands": str,
    "the root through the own folder": lambda root: f"{root}/acme/..",
    "the other brand by dots": lambda root: f"{root}/acme/../shop",
    "the other brand by dots in the middle": lambda root: f"{root}/acme/a/b/../../../shop/x",
    "a name that begins alike": lambda root: f"{root}/acme-2",
    "the own name in capitals": lambda root: f"{root}/ACME",
    "the own name with a Cyrillic letter": lambda root: f"{root}/\u0430cme",
    "the own name in full-width letters": lambda root: f"{root}/\uff41\uff43\uff4d\uff45",
    "the own name with a blank": lambda root: f"{root}/acme ",
    "a relative path": lambda root: "acme",
    "a relative path with dots": lambda root: "../shop",
    "a home folder": lambda root: "~/acme",
    "nothing": lambda root: "",
    "a blank": lambda root: " ",
    "a dot": lambda root: ".",
    "the whole machine": lambda root: "/",
    "a NUL character": lambda root: f"{root}/acme/\0",
    "a file address": lambda root: f"file://{root}/acme",
    "double slashes into the other": lambda root: f"{root}//shop//",
    "a link into the other": link_into_the_other,
    "a link in place of the own": link_instead_of_the_own,
    "a link back to the root": circle,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_destination_in_a_folder_that_is_not_the_brands_cannot_be_made(
    kind: str, root: Path, acme: Brand, shop: Brand, lead: Any
) -> None:
    config = {"path": FOREIGN[kind](root)}
    with pytest.raises(Invalid) as refused:
        destinations.create(brand=acme, by=lead, slug="out", name="Out", kind="folder", config=config)
    assert refused.value.problems[0].pointer == "config/path"
    assert f"{root}/acme" in refused.value.problems[0].message
    assert sorted(path.name for path in (root / "shop").iterdir()) == []


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_old_destination_in_a_folder_that_is_not_the_brands_receives_nothing(
    kind: str, root: Path, acme: Brand, shop: Brand, person: Callable[..., Any]
) -> None:
    config = {"path": FOREIGN[kind](root).replace("\0", "")}
    if kind == "a NUL character":
        config = {"path": f"{root}/shop/"}
    factories.DestinationFactory(brand=acme, config=config)
    task = create_image_in_review(acme)
    decisions.approve(**decision_arguments(task), by=person("reviewer", brand=acme))
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    assert deliveries.attempt_due() == 1
    delivery = Delivery.objects.get()
    assert (delivery.observed, delivery.due_at) == ("failed", None)
    assert f"{root}/acme" in delivery.error
    assert list((root / "shop").rglob("*")) == []
    assert [path for path in root.iterdir() if path.name not in {"acme", "shop"}] == []


@pytest.mark.parametrize("inner", ["", "/", "/images", "/a/b", "/a/../b", "//x", "/shop", "/\u0430cme"])
def test_a_folder_of_the_brand_is_taken(inner: str, root: Path, acme: Brand, shop: Brand, lead: Any) -> None:
    config = {"path": f"{root}/acme{inner}"}
    assert destinations.create(brand=acme, by=lead, slug="out", name="Out", kind="folder", config=config).pk


def test_an_old_destination_can_still_be_switched_off_and_then_moved(
    root: Path, acme: Brand, shop: Brand, lead: Any
) -> None:
    old = factories.DestinationFactory(brand=acme, config={"path": f"{root}/shop"})
    assert not destinations.change(destination_id=old.pk, by=lead, is_enabled=False).is_enabled
    with pytest.raises(Invalid, match="no folder of Acme"):
        destinations.change(destination_id=old.pk, by=lead, is_enabled=True)
    config = {"path": f"{root}/acme"}
    assert destinations.change(destination_id=old.pk, by=lead, config=config, is_enabled=True).is_enabled


def test_the_operator_can_give_one_brand_a_folder_outside_the_root(
    root: Path, acme: Brand, shop: Brand, lead: Any, settings: Any, tmp_path: Path
) -> None:
    share = tmp_path / "share"
    settings.PROOFLINE = settings.PROOFLINE | {"handover_folders": [str(root), f"acme={share}"]}
    assert brand_folders.folder_problem(acme, f"{share}/images") == ""
    assert brand_folders.folder_problem(acme, f"{root}/acme") == ""
    assert "no folder of Shop" in brand_folders.folder_problem(shop, f"{share}/images")
    assert str(share) not in brand_folders.folder_problem(shop, str(root))


@pytest.mark.parametrize(
    ("folders", "path"),
    [
        (["/srv", "/srv/acme"], "/srv/acme/shop"),
        (["/srv", "/srv/acme"], "/srv/acme"),
        (["/srv", "/srv/acme/inner"], "/srv/acme"),
        (["/srv", "shop=/srv/acme/shop"], "/srv/acme"),
        (["/srv", "shop=/srv/acme/shop"], "/srv/acme/shop/x"),
        (["acme=/srv", "/srv/all"], "/srv/all/shop"),
        (["acme=/srv", "shop=/srv"], "/srv"),
    ],
)
def test_nested_folders_of_the_installation_open_no_way_into_another_brands(
    folders: list[str], path: str, acme: Brand, shop: Brand, settings: Any
) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"handover_folders": folders}
    assert "no folder of Acme" in brand_folders.folder_problem(acme, path)


@pytest.mark.parametrize("slug", ["ACME", "Acme", "..", ".", "a/b", "", "acme\u0301"])
def test_a_slug_that_another_brand_has_in_other_letters_or_that_is_no_name_has_no_folder(
    slug: str, root: Path, acme: Brand
) -> None:
    later = Brand.objects.create(slug=slug, name="Later")
    assert brand_folders.folder_problem(later, f"{root}/{slug}") != ""
    assert brand_folders.folder_problem(acme, f"{root}/acme") == ""


def test_a_folder_that_becomes_a_link_between_check_and_writing_is_not_followed(root: Path, shop: Brand) -> None:
    own = root / "acme"
    place = DirectoryStorage(own / "out", own)
    own.mkdir()
    place.write("autumn/a.jpg", b"1", "image/jpeg")
    (own / "out").rename(own / "was")
    (own / "out").symlink_to(root / "shop")
    for act in (lambda: place.write("autumn/a.jpg", b"2", "image/jpeg"), lambda: place.delete("autumn/a.jpg")):
        with pytest.raises(DeliveryError, match="link elsewhere"):
            act()
    assert list((root / "shop").iterdir()) == []


@pytest.mark.parametrize(
    "prefix",
    ["", "/", "shop", "shop/images", "acme/../shop", "../shop", "ACME", "acme-2", "acme//x", "./acme", "acme\\x"],
)
def test_the_servers_own_bucket_rights_reach_the_brands_prefix_only(
    prefix: str, acme: Brand, shop: Brand, lead: Any, settings: Any
) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    given = {"brand": acme, "by": lead, "slug": "out", "name": "Out", "kind": "s3"}
    with pytest.raises(Invalid) as refused:
        destinations.create(**given, config={"bucket": "handover", "prefix": prefix})
    assert refused.value.problems[0].pointer == "config/prefix"
    old = Destination(brand=acme, kind="s3", config={"bucket": "handover", "prefix": prefix})
    assert destinations.list_prohibitions(old) != []
    assert destinations.create(**given, config={"bucket": "handover", "prefix": "acme/images"}).pk


@pytest.mark.parametrize(
    "changed", [{"prefix": "shop"}, {"bucket": "other"}, {"endpoint_url": "https://example.com"}, {"prefix": ""}]
)
def test_kept_keys_of_a_bucket_are_not_used_elsewhere(changed: dict[str, str], acme: Brand, lead: Any) -> None:
    config = {"bucket": "handover", "prefix": "acme"}
    made = destinations.create(
        brand=acme, by=lead, slug="out", name="Out", kind="s3", config=config, secret="key:secret"
    )
    with pytest.raises(Invalid, match="Enter the keys again"):
        destinations.change(destination_id=made.pk, by=lead, config=config | changed)
    destinations.change(destination_id=made.pk, by=lead, name="Bucket", config=config | {"region": "eu-west-1"})
