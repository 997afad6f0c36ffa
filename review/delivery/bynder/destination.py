"""The destination "bynder": each file an asset of the portal, with name, description and tags.

One of the tags is a marker with the asset's number and the file's hash, by which an asset is found again. Bynder shows
new assets late. A step "shown:<sha256>:<name>:<id>" in the journal notes that it has shown one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from core.plugin_config import Config, setting
from review.delivery import uploads
from review.delivery.base import DeliveryError, DeliveryFile, Journal, Package, Session
from review.delivery.bynder.api import LOGIN_HINT, ROLE_HINT, BynderApi
from review.delivery.marks_advice import MarksAdvice
from review.delivery.names import plain_keyword
from review.delivery.uploads import Made, Upload, UploadingDestination, Uploads, marker_of

PROCESSING_SECONDS = 1800.0
"""So long a new asset may be invisible, until a person has to look for it."""
WAIT_SECONDS = 10.0
"""So long one attempt waits for a new asset; then the next attempt does."""
LOOK_SECONDS = 1.0
AGAIN_SECONDS = 30.0
NEEDED_ROLES = {
    "MEDIAUPLOAD": "upload without the waiting room",
    "MEDIAREMOVE": "delete, so nothing could be recalled",
    "MEDIAEDIT": "change assets, so alternative texts could not be corrected",
    "MEDIAHIGHRES": "download originals, so nothing could be verified",
}


class BynderConfig(Config):
    url: str = setting("Address of the portal", needed="Give it.", example="https://brand.bynder.com")
    brand_id: str = setting(
        "Brand of new assets", "Its id; the connection test lists the brands.", default="", default_text="the only one"
    )
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class Assets(Uploads):
    """The assets of one delivery."""

    settle_seconds = 300.0

    def __init__(self, api: BynderApi, brand_id: str) -> None:
        self.api, self.given_brand = api, brand_id.strip()
        self.shown: set[str] = set()

    def choose_brand(self) -> str:
        """Return the id of the brand of new assets. Raises DeliveryError."""
        brands = {str(brand["id"]): str(brand.get("name") or "") for brand in self._list_brands()}
        if self.given_brand in brands:
            return self.given_brand
        if len(brands) == 1 and not self.given_brand:
            return next(iter(brands))
        listed = ", ".join(f"{brand_id} ({name})" for brand_id, name in brands.items())
        problem = f"There is no brand {self.given_brand}" if self.given_brand else "The portal has several brands"
        raise DeliveryError(f"{problem}: enter the id of one as brand_id. There are {listed[:500]}.", is_final=True)

    def put(self, package: Package, file: DeliveryFile, journal: Journal) -> Made:
        self._note_shown(journal)
        made = super().put(package, file, journal)
        key = _shown_key(Upload.of(package, file), made)
        journal.once(key, partial(self._wait_until_shown, made), lambda: None)  # to look twice changes nothing
        return made

    def list_ours(self, package: Package, journal: Journal, besides: Collection[str] = ()) -> list[Upload]:
        self._note_shown(journal)
        return super().list_ours(package, journal, besides)

    def send(self, package: Package, file: DeliveryFile, name: str) -> Made:
        texts = self.texts(package, file)
        words = (marker_of(package, Upload.of(package, file)), package.sku, package.brand, package.campaign)
        tags = ",".join(plain_keyword(word) for word in words if word)
        fields = {"brandId": self.given_brand or self.choose_brand(), **texts, "tags": tags}
        media_id = self.api.save(self.api.upload(name, file.read()), fields)
        return {**self._describe(media_id), "texts": uploads.digest(texts), "saved_at": time.time()}

    def find(self, package: Package, upload: Upload) -> list[Made]:
        return [{**self._describe(row["id"]), "texts": ""} for row in self.api.find_assets(marker_of(package, upload))]

    def is_there(self, package: Package, upload: Upload, made: Made) -> bool:
        return _shown_key(upload, made) not in self.shown or self.api.asset(str(made["id"])) is not None

    def remove(self, package: Package, upload: Upload, made: Made) -> None:
        was_there = self.api.delete(str(made["id"]))
        if not was_there and _shown_key(upload, made) not in self.shown and not _is_overdue(made):
            raise self._say_unseen(made)

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        return {"name": package.title or package.sku, "description": package.alt_text}

    def describe(self, package: Package, file: DeliveryFile, made: Made) -> None:
        self.api.change(str(made["id"]), self.texts(package, file))

    def _list_brands(self) -> Iterator[Mapping[str, Any]]:
        """Yield brands and the brands below them."""
        rows = self.api.get("brands/")
        for brand in rows if isinstance(rows, list) else []:
            yield brand
            yield from brand.get("subBrands") or []

    def _note_shown(self, journal: Journal) -> None:
        self.shown = {step.key for step in journal.steps("shown:") if step.is_done}

    def _wait_until_shown(self, made: Made) -> dict[str, Any]:
        until = time.monotonic() + WAIT_SECONDS
        while self.api.asset(str(made["id"])) is None:
            if time.monotonic() > until:
                raise self._say_unseen(made)
            time.sleep(LOOK_SECONDS)
        return {}

    def _say_unseen(self, made: Made) -> DeliveryError:
        if not _is_overdue(made):
            message = f"Bynder is still processing asset {made['id']}."
            return DeliveryError(message, retry_after_seconds=AGAIN_SECONDS)
        message = (
            f"Bynder did not show asset {made['id']} within {PROCESSING_SECONDS / 60:.0f} minutes: is it in the "
            "waiting room, or was it rejected? Look there, then deliver again, or recall it."
        )
        return DeliveryError(message, is_final=True)

    def _describe(self, media_id: Any) -> dict[str, str]:
        return {"id": str(media_id), "url": f"{self.api.base_url}/media/?mediaId={media_id}"}


class Bynder(UploadingDestination):
    kind = "bynder"
    label = "Bynder"
    description = "Assets with name, description and tags in a Bynder portal."
    config = BynderConfig
    receiver_settings = ("url",)
    credentials_hint = "Permanent token: Settings → Advanced settings → Portal settings → Permanent tokens."
    marks_advice = MarksAdvice(
        "A delivery is compared with the original. Bynder makes the derivatives, and may save them without the marks.",
        "Publish the original where the marks are needed, and drop a derivative on “Verify an image” to see"
        " what it has kept.",
    )
    uploads: Assets

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.given = BynderConfig.read(config)
        self.secret = secret
        self.api = BynderApi(self.given.url, secret, allow_private=self.given.allow_private)
        self.uploads = Assets(self.api, self.given.brand_id)

    def validate(self) -> list[str]:
        problems = self.api.validate()
        if not re.fullmatch(r"[!-~]+", self.secret.strip()):
            problems.append(f"secret: expected a permanent token. {LOGIN_HINT}")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        problems: list[str] = []
        try:
            problems += self._find_missing_roles()
            self.uploads.choose_brand()
        except DeliveryError as error:
            problems.append(error.message)
        return problems

    def plan_upload(self, name: str, file: DeliveryFile) -> str:
        return f"Create an asset with {name} ({file.width} × {file.height} px)."

    def plan_removal(self, name: str) -> str:
        return f"Delete the earlier asset with {name}."

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        return self.api.read_original(file["id"]) if file.get("id") else None

    def _find_missing_roles(self) -> list[str]:
        user = self.api.get("currentUser/")
        if not isinstance(user, dict):
            return ["There is no Bynder portal at this address."]
        profile = self.api.get(f"profiles/{user.get('profileId')}/")
        roles = profile.get("roles") if isinstance(profile, dict) else None
        if not isinstance(roles, list):
            return []
        return [
            f"The user of the token may not {what} ({role}). {ROLE_HINT}"
            for role, what in NEEDED_ROLES.items()
            if role not in roles
        ]


def _shown_key(upload: Upload, made: Made) -> str:
    return f"{upload.key.replace('file:', 'shown:', 1)}:{made['id']}"


def _is_overdue(made: Made) -> bool:
    """Return whether a new asset should be visible by now. One that was found by its marker was visible."""
    return time.time() - float(made.get("saved_at", 0)) > PROCESSING_SECONDS
