"""Set up the example brands through the same services that people use. Existing rows are kept.

Products and photos are not loaded here: the demo imports them as a customer would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from django.db import transaction

from campaigns.choices import GuideStatus, PromptStatus
from campaigns.models import Campaign, GuideVersion, PromptTemplate, StylePreset
from campaigns.services import campaigns, guides, images, prompts, styles
from campaigns.services.campaigns import SpecInput
from core.models import Brand, User
from core.services import brands
from generation.models import Endpoint
from review.models import Checklist, Destination, Reason
from review.services import checklists, destinations, reasons

EXAMPLES = Path(__file__).resolve().parent
FOLDERS = (EXAMPLES / "brand", EXAMPLES / "neighbour")
#: A public password, so it is only given to the accounts of the example.
PASSWORD = "clay-and-glaze"  # noqa: S105
MAIL_DOMAIN = "example.com"

JsonObject = Mapping[str, Any]
ModelType = TypeVar("ModelType")


@dataclass(frozen=True)
class Login:
    """The login of a person of the example."""

    username: str
    name: str
    roles: tuple[str, ...]
    password: str = PASSWORD


@dataclass(frozen=True)
class Example:
    """One example brand as it is in the database now, with its files."""

    brand: Brand
    campaign: Campaign
    owner: User
    logins: tuple[Login, ...]
    feed: Path
    photos: Path

    def login_of(self, role: str) -> str:
        """Return the user name of the first person who has this role."""
        return next(login.username for login in self.logins if role in login.roles)


def read(folder: Path) -> dict[str, Any]:
    """Return the content of the folder's brand.json."""
    plain: dict[str, Any] = json.loads((folder / "brand.json").read_text(encoding="utf-8"))
    return plain


def photos_of(folder: Path) -> Path:
    """Return the folder of the photos that the folder's feed names."""
    own = folder / "photos"
    return own if own.is_dir() else EXAMPLES / "photos"


def load_all(*, delivered_to: Path) -> list[Example]:
    """Load both example brands, the main one first. Approved files are delivered below the folder `delivered_to`."""
    return [load(folder, delivered_to=delivered_to) for folder in FOLDERS]


@transaction.atomic
def load(folder: Path, *, delivered_to: Path) -> Example:
    """Create what does not exist yet of one brand; changes that people made since are kept."""
    plain = read(folder)
    operator = _operator()
    brand = _brand(plain["brand"], operator)
    people = {person["username"]: _person(brand, person, operator) for person in plain["people"]}
    lead = next(people[person["username"]] for person in plain["people"] if "lead" in person["roles"])
    author = next((people[person["username"]] for person in plain["people"] if "designer" in person["roles"]), lead)
    _guide(brand, plain["guide"], lead, folder / "guide")
    for style in plain["styles"]:
        if not StylePreset.objects.filter(brand=brand, slug=style["slug"]).exists():
            styles.create(brand=brand, by=author, **style)
    for plain_prompt in plain["prompts"]:
        prompt(brand, plain_prompt, author, lead)
    for endpoint in plain["endpoints"]:
        Endpoint.objects.get_or_create(slug=endpoint["slug"], defaults=endpoint)
    _review(brand, plain, lead, delivered_to)
    main = campaign(brand, plain["campaign"], people)
    logins = tuple(
        Login(person["username"], people[person["username"]].display_name, tuple(person["roles"]))
        for person in plain["people"]
    )
    return Example(brand, main, people[plain["campaign"]["owner"]], logins, folder / "products.csv", photos_of(folder))


def _get_or_create(model: type[Any], key: JsonObject, make: Callable[[], ModelType]) -> ModelType:
    """Return the row with this key; `make` creates it if there is none."""
    row: ModelType | None = model.objects.filter(**key).first()
    return row if row is not None else make()


def _operator() -> User:
    """Return the account that creates the brands; nobody can log in to it until an operator sets a password."""
    operator, is_new = User.objects.get_or_create(
        username="operator", defaults={"is_superuser": True, "is_staff": True, "first_name": "Operator"}
    )
    if is_new:
        operator.set_unusable_password()
        operator.save(update_fields=["password"])
    return operator


def _brand(plain: JsonObject, operator: User) -> Brand:
    return _get_or_create(Brand, {"slug": plain["slug"]}, lambda: brands.create_brand(by=operator, **plain))


def _person(brand: Brand, plain: JsonObject, operator: User) -> User:
    names = {key: plain[key] for key in ("first_name", "last_name")}
    mail = f"{plain['username']}@{brand.slug}.{MAIL_DOMAIN}"
    person, is_new = User.objects.get_or_create(username=plain["username"], defaults={"email": mail, **names})
    if is_new:
        person.set_password(PASSWORD)
        person.save(update_fields=["password"])
    elif person.email != mail:
        raise ValueError(
            f"There already is a {plain['username']!r} who is not the example's: the example needs that login. "
            "Load it into an empty database, or rename the account."
        )
    for role in plain["roles"]:
        brands.add_member(brand=brand, user=person, role=role, by=operator)
    return person


def _guide(brand: Brand, plain: JsonObject, lead: User, folder: Path) -> None:
    if GuideVersion.objects.filter(brand=brand, status=GuideStatus.PUBLISHED).exists():
        return
    fields = {name: value for name, value in plain.items() if name not in {"images", "note"}}
    draft = guides.edit_draft(brand=brand, by=lead, **fields)
    for image in plain.get("images", ()):
        given = [(image["file"], (folder / image["file"]).read_bytes())]
        images.add_to_guide(guide_id=draft.pk, use=image["use"], files_given=given, by=lead, caption=image["caption"])
    guides.publish(guide_id=draft.pk, by=lead, note=plain.get("note", ""))


def prompt(brand: Brand, plain: JsonObject, author: User, lead: User) -> PromptTemplate:
    """Return a prompt template with its numbered versions; existing versions are not changed."""
    template = _get_or_create(
        PromptTemplate,
        {"brand": brand, "slug": plain["slug"]},
        lambda: prompts.create_template(brand=brand, slug=plain["slug"], name=plain["name"], by=author),
    )
    there = template.versions.count()
    for version in plain["versions"][there:]:
        fields = {key: value for key, value in version.items() if key != "is_approved"}
        made = prompts.add_version(template_id=template.pk, by=author, **fields)
        if version.get("is_approved") and made.status != PromptStatus.APPROVED:
            prompts.approve_version(version_id=made.pk, by=lead)
    return template


def _review(brand: Brand, plain: JsonObject, lead: User, delivered_to: Path) -> None:
    """Create the checklist, the reasons in the order of their digits, and the destinations of approved files.

    The example's reasons take the place of those that every new brand has.
    """
    checklist = plain["checklist"]
    if not Checklist.objects.filter(brand=brand, stage=checklist["stage"]).exists():
        checklists.create(brand=brand, by=lead, **checklist)
    own_codes = [reason["code"] for reason in plain["reasons"]]
    if Reason.objects.filter(brand=brand, code__in=own_codes).count() < len(own_codes):
        for default in Reason.objects.filter(brand=brand, is_active=True).exclude(code__in=own_codes):
            reasons.save(brand=brand, by=lead, code=default.code, label=default.label, is_active=False)
        for position, reason in enumerate(plain["reasons"], start=1):
            reasons.save(brand=brand, by=lead, position=position, **reason)
    for place in plain["destinations"]:
        if not Destination.objects.filter(brand=brand, slug=place["slug"]).exists():
            config = {"path": str(delivered_to / place["folder"])}
            named = {key: place[key] for key in ("slug", "name", "kind")}
            destinations.create(brand=brand, by=lead, config=config, rules=(), **named)  # the demo model’s, too


def campaign(brand: Brand, plain: JsonObject, people: Mapping[str, User]) -> Campaign:
    """Return the campaign with its brief and output specs; an existing one is not changed. people: by user name."""

    def make() -> Campaign:
        brief = {key: value for key, value in plain.items() if key not in {"specs", "owner", "review_owner", "budget"}}
        budget = Decimal(plain["budget"]) if plain["budget"] else None
        specs = [SpecInput(**spec) for spec in plain["specs"]]
        return campaigns.create_campaign(
            brand=brand,
            by=people[plain["owner"]],
            specs=specs,
            budget=budget,
            review_owner=people[plain["review_owner"]],
            **brief,
        )

    return _get_or_create(Campaign, {"brand": brand, "slug": plain["slug"]}, make)
