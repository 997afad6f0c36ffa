"""The destination "cloudinary": each file an image of a Cloudinary product environment, under a public id of ours.

Written against the Upload API and the Admin API (https://cloudinary.com/documentation/image_upload_api_reference). The
public id has the asset's number and the file's hash, so that an upload which is repeated makes no second image.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from core.fetching import Answer, redact_text
from core.fetching.fetcher import retry_after
from core.plugin_config import Config, setting
from review.delivery import http, uploads
from review.delivery.base import DeliveryError, DeliveryFile, Package, Session
from review.delivery.marks_advice import MarksAdvice
from review.delivery.names import plain_keyword
from review.delivery.uploads import Made, Upload, UploadingDestination, Uploads

NOBODY: Final = "proofline-connection-test"  # a public id that no image has
KEY_HINT = "Enter API key, colon and API secret of this product environment (Settings → API Keys)."
CLOCK_HINT = "The clock of this server or that of Cloudinary is wrong by more than an hour: set it."
RATE_LIMITED = frozenset({420, 429})


class CloudinaryApi(http.Client):
    """The API of one product environment. secret: "API key:API secret"."""

    def __init__(self, url: str, cloud_name: str, secret: str, *, allow_private: bool = False) -> None:
        super().__init__(f"{url.rstrip('/')}/v1_1/{cloud_name}", allow_private=allow_private)
        self.key, _colon, self.signing_secret = (part.strip() for part in secret.partition(":"))

    def change(
        self, action: str, fields: Mapping[str, str], file: tuple[str, str, bytes] | None = None
    ) -> dict[str, Any]:
        """Return what an action of the Upload API answers. file: name, media type, bytes. Raises DeliveryError."""
        given = {**{name: text for name, text in fields.items() if text}, "timestamp": str(int(time.time()))}
        signed = {**given, "api_key": self.key, "signature": sign(given, self.signing_secret)}
        if file is None:
            body, content_type = urlencode(signed).encode(), "application/x-www-form-urlencoded"
        else:
            body, content_type = http.multipart(signed, "file", *file)
        answer = self.send("POST", f"image/{action}", body=body, headers={"content-type": content_type})
        return _read(answer, is_change=True)

    def ask(self, path: str) -> dict[str, Any] | None:
        """Return what the Admin API answers; None if the thing is not there. Raises DeliveryError."""
        login = base64.b64encode(f"{self.key}:{self.signing_secret}".encode()).decode()
        answer = self.send("GET", path, headers={"authorization": f"Basic {login}"}, accept=(404,))
        return None if answer.status == 404 else _read(answer, is_change=False)

    def image(self, public_id: str) -> dict[str, Any] | None:
        return self.ask(f"resources/image/upload/{quote(public_id)}")

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        error = super()._error(method, address, answer)
        hints = {401: KEY_HINT} | ({400: CLOCK_HINT} if "stale request" in error.message.lower() else {})
        if answer.status in hints:
            error.message = redact_text(f"{error.message.rstrip('.')}. {hints[answer.status]}")
        if answer.status in RATE_LIMITED:
            error.is_final = False
            reset = retry_after(answer.headers.get("x-featureratelimit-reset", ""))
            error.retry_after_seconds = error.retry_after_seconds or reset
        return error


def _read(answer: Answer, *, is_change: bool) -> dict[str, Any]:
    content = answer.json()
    if not isinstance(content, dict):
        message = "The address answered something else than JSON: is it the API of Cloudinary?"
        raise DeliveryError(message, is_uncertain=is_change, status_code=answer.status)
    return content


def sign(fields: Mapping[str, str], secret: str) -> str:
    """Return the signature of the fields of a request: version 2, in which a value cannot pretend to be two fields."""
    given = sorted(f"{name.removesuffix('[]')}={text}".replace("&", "%26") for name, text in fields.items())
    return hashlib.sha256(("&".join(given) + secret).encode()).hexdigest()


def write_context(texts: Mapping[str, str]) -> str:
    """Return texts as the parameter "context" has them."""
    escaped = {name: re.sub(r"([=|])", r"\\\1", text) for name, text in texts.items()}
    return "|".join(f"{name}={text}" for name, text in escaped.items())


class CloudinaryConfig(Config):
    cloud_name: str = setting("Cloud name", "Of the product environment.", needed="Give it.", example="my-brand")
    folder: str = setting("Folder", "What public ids begin with.", default="", example="shop/images")
    url: str = setting(
        "Address of the API", "Another one for data centres in the EU or in Asia.", default="https://api.cloudinary.com",
        example="https://api-eu.cloudinary.com", is_advanced=True,
    )  # fmt: skip
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class Images(Uploads):
    """The images of one delivery. Their ids are their public ids."""

    def __init__(self, api: CloudinaryApi, folder: str) -> None:
        self.api, self.folder = api, folder.strip("/ ")

    def send(self, package: Package, file: DeliveryFile, name: str) -> Made:
        texts = self.texts(package, file)
        words = (package.sku, package.brand, package.campaign)
        fields = {
            "public_id": self.public_id(name),
            "overwrite": "false",  # an upload that arrives late changes nothing
            "invalidate": "true",
            "context": write_context(texts),
            "tags": ",".join(plain_keyword(word) for word in words if word),
        }
        answer = self.api.change("upload", fields, (name, file.media_type, file.read()))
        sent = "" if answer.get("existing") else uploads.digest(texts)
        return {**self._describe(answer), "texts": sent}

    def find(self, package: Package, upload: Upload) -> list[Made]:
        image = self.api.image(self.public_id(upload.name))
        return [] if image is None else [{**self._describe(image), "texts": ""}]

    def is_there(self, package: Package, upload: Upload, made: Made) -> bool:
        return self.api.image(str(made["id"])) is not None

    def remove(self, package: Package, upload: Upload, made: Made) -> None:
        answer = self.api.change("destroy", {"public_id": str(made["id"]), "invalidate": "true"})
        if answer.get("result") not in {"ok", "not found"}:
            message = f"Cloudinary did not delete {made['id']}: it answered {str(answer.get('result'))[:100]}."
            raise DeliveryError(message)

    def texts(self, package: Package, file: DeliveryFile) -> Mapping[str, str]:
        given = {"alt": package.alt_text, "caption": package.caption or package.title or package.sku}
        return {name: text for name, text in given.items() if text}

    def describe(self, package: Package, file: DeliveryFile, made: Made) -> None:
        context = write_context(self.texts(package, file))
        fields = {"public_ids[]": str(made["id"]), "command": "add", "context": context}
        if not self.api.change("context", fields).get("public_ids"):
            raise DeliveryError(f"Cloudinary did not change the texts of {made['id']}: it is not there any more.")

    def public_id(self, name: str) -> str:
        """Return the public id of a file of this name, which has no extension."""
        return "/".join(part for part in (self.folder, name.rpartition(".")[0] or name) if part)

    def _describe(self, image: Mapping[str, Any]) -> dict[str, str]:
        """Return an image; its "url" serves the original, as it has no transformation."""
        if not isinstance(image.get("public_id"), str) or not isinstance(image.get("secure_url"), str):
            message = "Cloudinary answered without public_id and secure_url, so the image could not be recorded."
            raise DeliveryError(message, is_uncertain=True)
        return {"id": image["public_id"], "url": image["secure_url"]}


class Cloudinary(UploadingDestination):
    kind = "cloudinary"
    label = "Cloudinary"
    description = "Images with alternative text and tags in a Cloudinary product environment."
    config = CloudinaryConfig
    receiver_settings = ("url",)
    credentials_hint = "API key, colon, API secret, as Settings → API Keys shows them: “123456789012345:AbC…”."
    marks_advice = MarksAdvice(
        "The address of the delivery serves the file as it was uploaded, unless an incoming transformation"
        " changed it. An address with a transformation, such as w_400 or f_auto, serves a derived image, from"
        " which Cloudinary removes metadata.",
        "Use the address without a transformation, or add fl_keep_iptc to it, which keeps the fields that say"
        " that the image was made by AI. Content Credentials fit the original only.",
    )
    uploads: Images

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.given = CloudinaryConfig.read(config)
        self.api = CloudinaryApi(
            self.given.url, self.given.cloud_name, secret, allow_private=self.given.allow_private
        )  # fmt: skip
        self.uploads = Images(self.api, self.given.folder)

    def validate(self) -> list[str]:
        problems = self.api.validate()
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.given.cloud_name):
            problems.append("cloud_name: expected letters, digits, - and _, as the Cloudinary console shows it.")
        if self.given.folder and not re.fullmatch(r"[\w-]+(/[\w-]+)*", self.given.folder):
            problems.append("folder: expected letters, digits, - and _, with / between folders.")
        if not self.api.key or not self.api.signing_secret:
            problems.append(f"secret: expected API key and API secret. {self.credentials_hint}")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        """Ask with the login of the Admin API, then delete what is not there, which needs a valid signature."""
        try:
            if self.api.ask("ping") is None:
                return ["There is nothing at this address: is it the address of Cloudinary’s API?"]
            self.api.change("destroy", {"public_id": NOBODY})
        except DeliveryError as error:
            return [error.message]
        return []

    def plan_upload(self, name: str, file: DeliveryFile) -> str:
        return super().plan_upload(self.uploads.public_id(name), file)

    def plan_removal(self, name: str) -> str:
        return f"Delete the earlier image {self.uploads.public_id(name)}."

    def read_delivered(self, file: Mapping[str, str]) -> bytes | None:
        return self.api.read(file["url"]) if file.get("url") else None
