"""The destination "contentful": each file an asset with title and description, processed and published.

The id of an asset is made of the number of the image, the file's hash and its name, so that a repetition after a lost
answer makes no second one.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from core.plugin_config import Config, setting
from review.delivery import uploads
from review.delivery.base import DeliveryError, DeliveryFile, Journal, Package, Receipt, Session
from review.delivery.contentful.api import LOGIN_HINT, Asset, ContentfulApi
from review.delivery.marks_advice import MarksAdvice
from review.delivery.uploads import Made, Upload, UploadingDestination, Uploads

TRIES = 6
"""So many times a change is tried while others change the same asset."""
PROCESSING_SECONDS = 60.0
"""So long one attempt waits for Contentful to process a file."""
PAUSES = (
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
)  # seconds between two looks at a file that is processed; the last one again and again
UPLOAD_LIVES = timedelta(hours=1)
"""An upload that is not processed after this time is sent again; Contentful forgets it after 24 hours."""


class ContentfulConfig(Config):
    space: str = setting("Space ID", needed="Give it.", example="cfexampleapi")
    environment: str = setting("Environment", default="master")
    locale: str = setting("Locale", "In which file, title and description are stored.", default="en-US")
    publishes: bool = setting("Publish the assets", "Else they wait as drafts for an editor.", default=True)
    per_second: int = setting(
        "Requests per second", "By all workers together; plans of Contentful allow 7 to 10.", default=7,
        minimum=1, maximum=100, is_advanced=True,
    )  # fmt: skip
    url: str = setting(
        "Address of the API", "In the EU https://api.eu.contentful.com.", default="https://api.contentful.com",
        is_advanced=True,
    )  # fmt: skip
    upload_url: str = setting(
        "Address of uploads", "In the EU https://upload.eu.contentful.com.", default="https://upload.contentful.com",
        is_advanced=True,
    )  # fmt: skip
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class Assets(Uploads):
    """The assets of one delivery."""

    def __init__(self, api: ContentfulApi, given: ContentfulConfig) -> None:
        self.api, self.given = api, given

    def put(self, package: Package, file: DeliveryFile, journal: Journal) -> Made:
        made = super().put(package, file, journal)
        return {**made, "url": self._complete(str(made["id"]), Upload.of(package, file).name, file)}

    def send(self, package: Package, file: DeliveryFile, name: str) -> Made:
        asset_id = asset_id_of(package, Upload.of(package, file))
        texts = self.texts(package, file)
        fields = {**self._in_locale(texts), **self._in_locale({"file": self._upload(name, file)})}
        self.api.save(asset_id, {"fields": fields})  # one that is there already has the same bytes
        return {"id": asset_id, "url": "", "texts": uploads.digest(texts)}

    def find(self, package: Package, upload: Upload) -> list[Made]:
        asset_id = asset_id_of(package, upload)
        return [{"id": asset_id, "url": "", "texts": ""}] if self.api.asset(asset_id) is not None else []

    def is_there(self, package: Package, upload: Upload, made: Made) -> bool:
        return self.api.asset(str(made["id"])) is not None

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        return {"title": package.title or package.sku, "description": package.alt_text}

    def describe(self, package: Package, file: DeliveryFile, made: Made) -> None:
        for _ in range(TRIES):
            asset = self._require(str(made["id"]))
            if self._save(asset, self.texts(package, file)):
                return
        raise _busy(str(made["id"]))

    def remove(self, package: Package, upload: Upload, made: Made) -> None:
        for _ in range(TRIES):
            asset = self.api.asset(str(made["id"]))
            if asset is None:
                return
            if not asset.published_version:
                self.api.delete(asset)
            else:
                self.api.unpublish(asset)
        raise _busy(str(made["id"]))

    def _complete(self, asset_id: str, name: str, file: DeliveryFile) -> str:
        """Have an asset processed and published, as far as it is not; return where its file is served."""
        give_up_at, pauses, is_asked = time.monotonic() + PROCESSING_SECONDS, iter(PAUSES), False
        while True:
            asset = self._require(asset_id)
            address = self.api.address(asset.file(self.given.locale))
            if address and (asset.is_published or not self.given.publishes):
                return address
            if address:
                self.api.publish(asset)
            elif _has_dead_upload(asset):
                self._save(asset, {"file": self._upload(name, file)})
            elif not is_asked:
                is_asked = self._process(asset)
            if time.monotonic() > give_up_at:
                message = f"Contentful has not processed {name} within {PROCESSING_SECONDS:.0f} s; it is asked again."
                raise DeliveryError(message, retry_after_seconds=PROCESSING_SECONDS)
            time.sleep(next(pauses, PAUSES[-1]) if not address else 0)

    def _process(self, asset: Asset) -> bool:
        """Ask for a file to be processed; one that another worker had processed meanwhile is no error."""
        try:
            return self.api.process(asset, self.given.locale)
        except DeliveryError as error:
            if error.status_code == 422 and self._require(asset.id).file(self.given.locale).get("url"):
                return True
            raise

    def _upload(self, name: str, file: DeliveryFile) -> dict[str, Any]:
        """Upload the bytes; return the file of an asset that takes them."""
        link = {"sys": {"type": "Link", "linkType": "Upload", "id": self.api.upload(file.read())}}
        return {"contentType": file.media_type, "fileName": name, "uploadFrom": link}

    def _save(self, asset: Asset, values: Mapping[str, Any]) -> bool:
        """Change fields of an asset in our locale; all others stay."""
        changed = {name: {**(asset.fields.get(name) or {}), **each} for name, each in self._in_locale(values).items()}
        content = {"fields": {**asset.fields, **changed}, "metadata": asset.metadata}
        return self.api.save(asset.id, content, asset.version)

    def _in_locale(self, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return {name: {self.given.locale: value} for name, value in values.items()}

    def _require(self, asset_id: str) -> Asset:
        asset = self.api.asset(asset_id)
        if asset is None:
            raise DeliveryError(f"{asset_id} was deleted in Contentful meanwhile; it is sent again.")
        return asset


class Contentful(UploadingDestination):
    kind = "contentful"
    label = "Contentful"
    description = "Assets with title and description in a space of Contentful, published if you like."
    config = ContentfulConfig
    receiver_settings = ("url", "upload_url")
    credentials_hint = "A personal access token of the Content Management API: “CFPAT-…”."
    marks_advice = MarksAdvice(
        "An address with parameters of the Images API, such as ?w=400, serves an image that is made anew."
        " Content Credentials fit the original only.",
        "Use the address of the asset without parameters where the marks are needed.",
    )
    uploads: Assets

    def __init__(self, config: Mapping[str, object], secret: str) -> None:
        self.given, self.secret = ContentfulConfig.read(config), secret
        self.api = ContentfulApi(
            self.given.url, self.given.upload_url, self.given.space, self.given.environment, secret,
            allow_private=self.given.allow_private,
        )  # fmt: skip
        self.uploads = Assets(self.api, self.given)

    def validate(self) -> list[str]:
        patterns = {
            "space": (self.given.space, r"[A-Za-z0-9._-]{1,64}", "the ID of a space"),
            "environment": (
                self.given.environment,
                r"[A-Za-z0-9._-]{1,64}",
                "the ID of an environment, such as master",
            ),
            "locale": (self.given.locale, r"[A-Za-z0-9-]{1,20}", "a locale, such as en-US"),
            "secret": (self.secret.strip(), r"[!-~]+", f"an access token. {LOGIN_HINT.rstrip('.')}"),
        }
        wrong = [
            f"{name}: expected {words}."
            for name, (value, pattern, words) in patterns.items()
            if not re.fullmatch(pattern, value)
        ]
        return [*self.api.validate(), *wrong]

    def test_connection(self, session: Session) -> list[str]:
        try:
            locales = self.api.locales()
        except DeliveryError as error:
            return [error.message]
        if self.given.locale not in locales:
            return [f"There is no locale {self.given.locale}; there are {', '.join(locales)}."]
        return []

    def plan_upload(self, name: str, file: DeliveryFile) -> str:
        what = "Create and publish" if self.given.publishes else "Create"
        return f"{what} an asset with {name} ({file.width} × {file.height} px) in {self.given.environment}."

    def plan_removal(self, name: str) -> str:
        return f"Delete {name}, unless an entry links to it."

    def push(self, package: Package, session: Session) -> Receipt:
        self._limit(session)
        return super().push(package, session)

    def replace(self, package: Package, earlier: Sequence[Upload], journal: Journal) -> str:
        """Delete earlier files; one that entries link to stays until a recall."""
        sentences = []
        for upload in earlier:
            if linked := self._describe_users([upload]):
                sentences.append(f"{upload.name} stays, because it is linked from {linked}.")
            else:
                self.uploads.delete(package, [upload], journal)
        return " ".join(sentences)

    def recall(self, package: Package, session: Session) -> Receipt:
        self._limit(session)
        ours = self.uploads.list_ours(package, session.journal)
        linked = self._describe_users(ours)
        count = self.uploads.delete(package, ours, session.journal)
        remark = f" These entries linked to them, and have a missing asset now: {linked}." if linked else ""
        return Receipt(message=f"{count} files deleted; Contentful may serve copies for 48 hours.{remark}")

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        asset = self.api.asset(file["id"]) if file.get("id") else None
        return self.api.read_file(asset.file(self.given.locale)) if asset is not None else None

    def _limit(self, session: Session) -> None:
        rate = float(self.given.per_second)
        session.limiter.report(available=1, maximum=1, per_second=rate)  # no bursts: Contentful counts each second
        self.api.limiter = session.limiter

    def _describe_users(self, ours: Sequence[Upload]) -> str:
        return ", ".join(user for upload in ours for made in upload.files for user in self.api.users(str(made["id"])))


def asset_id_of(package: Package, upload: Upload) -> str:
    """Return the id of the asset of an upload, in at most 64 characters; no other upload has it."""
    of_name = hashlib.sha256(upload.name.encode()).hexdigest()[:6]
    return f"proofline-{package.asset_id}-{upload.sha256[:16]}-{of_name}"


def _has_dead_upload(asset: Asset) -> bool:
    return asset.updated_at is not None and datetime.now(UTC) - asset.updated_at > UPLOAD_LIVES


def _busy(asset_id: str) -> DeliveryError:
    return DeliveryError(f"Others change {asset_id} in Contentful all the time; it is tried again later.")
