"""The files of one delivery in a shop: upload, wait until they are processed, attach to a product, delete.

Names are the key to what an interrupted attempt left: a file's name has the asset's number and the start of its hash,
the shop refuses a second file of the same name, and its search finds files by name. That search lags behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from review.delivery.base import DeliveryError, DeliveryFile, Package, Session, Step
from review.delivery.names import remote_name
from review.delivery.shopify import operations as ops
from review.delivery.shopify.client import ShopClient, ShopRefusal
from review.delivery.shopify.products import Products

MAX_ALT = 512
MAX_IMAGES = 250  # of one product
SEARCH_LAG_SECONDS = 300.0
"""A file that the search does not show so long after it was sent was not created."""
GONE = frozenset({"FILE_DOES_NOT_EXIST", "MEDIA_DOES_NOT_EXIST"})
#: Reasons for a failed file that another attempt may not meet.
PASSING = frozenset({"UNKNOWN", "MEDIA_TIMEOUT_ERROR", "IMAGE_DOWNLOAD_FAILURE"})


class Files:
    """The files of one asset in a shop during one attempt."""

    def __init__(self, shop: ShopClient, products: Products, package: Package, session: Session) -> None:
        self.shop, self.products, self.package = shop, products, package
        self.journal, self.limiter = session.journal, session.limiter

    def create(self, file: DeliveryFile) -> Mapping[str, Any]:
        """Upload one file, once; return {"id", "name"}. The shop processes it afterwards."""
        look_up = partial(self._find, file.sha256)
        return self.journal.once(f"file:{file.sha256}", partial(self._send, file), look_up)

    def wait_until_ready(self, sha256: str, file_id: str, seconds: float) -> Mapping[str, Any]:
        """Return {"id", "alt", "url"} of a file that the shop has processed. Its image is null until then."""
        give_up_at, pause = time.monotonic() + seconds, 0.5
        while True:
            node = self._run(ops.FILE, id=file_id)["node"]
            if node is None:
                self._forget(sha256)
                raise DeliveryError("The uploaded file is no longer in the shop; it is uploaded again.")
            if node["fileStatus"] == "READY" and node["image"]:
                return {"id": file_id, "alt": node["alt"] or "", "url": str(node["image"]["url"])}
            if node["fileStatus"] == "FAILED":
                file_id = self._replace_failed(sha256, node)
            elif time.monotonic() > give_up_at:
                raise DeliveryError("The shop is still processing the image.", retry_after_seconds=30)
            else:
                time.sleep(pause)
                pause = min(5.0, pause * 1.5)

    def attach(self, sha256: str, file_id: str, product: str) -> None:
        """Attach a file to its product, once, and detach it from any other product."""
        self.journal.once(
            f"attach:{sha256}:{product}",
            partial(self.add_to_product, file_id, product),
            partial(self._find_attached, file_id, product),
        )
        for step in self.journal.steps(f"attach:{sha256}:"):
            if (other := step.key.split(":", 2)[2]) != product:
                self._detach(file_id, other)
                self.journal.undo(step.key)

    def add_to_product(self, file_id: str, product: str) -> Mapping[str, Any]:
        try:
            self._update({"id": file_id, "referencesToAdd": [product]})
        except ShopRefusal as refusal:
            if "PRODUCT_MEDIA_LIMIT_EXCEEDED" in refusal.codes:
                raise DeliveryError(describe_full_product(product), is_final=True) from None
            raise
        return {"product": product}

    def ensure_attached(self, product: str, file_ids: Sequence[str]) -> list[str]:
        """Return the ids of the product's images, these among them; attach those that somebody took off.

        Raises DeliveryError if the shop does not show them there.
        """
        for attempt in range(6):
            images = [image["id"] for image in self.products.images(product)]
            missing = [file_id for file_id in file_ids if file_id not in images]
            if not missing:
                return images
            if attempt == 2:
                for file_id in missing:
                    self.add_to_product(file_id, product)
            time.sleep(0.5)
        raise DeliveryError("The shop does not show the image at the product yet.", retry_after_seconds=30)

    def set_alt(self, alt_texts: Mapping[str, str]) -> None:
        """Set the alt texts of files: {id: text}."""
        if alt_texts:
            self._update(*({"id": file_id, "alt": text[:MAX_ALT]} for file_id, text in alt_texts.items()))

    def delete(self, steps: Iterable[Step]) -> int:
        """Delete the files of these journal steps, and with them their places; return how many were there.

        Raises DeliveryError at the end, if of some it is still unknown whether they are there.
        """
        count, unknown = 0, None
        for step in steps:
            try:
                count += self._delete(step)
            except DeliveryError as error:
                unknown = error
        if unknown is not None:
            raise unknown
        return count

    def delete_by_id(self, file_id: str) -> bool:
        """Delete one file; return whether it was there."""
        try:
            self._run(ops.DELETE_FILES, result="fileDelete", ids=[file_id])
        except ShopRefusal as refusal:
            if not refusal.codes & GONE:
                raise
            return False
        return True

    # -- inside --------------------------------------------------------------------------------------------------------

    def _send(self, file: DeliveryFile) -> dict[str, Any]:
        name, content = remote_name(self.package.asset_id, file.name, file.sha256), file.read()
        target = {
            "resource": "IMAGE", "filename": name, "mimeType": file.media_type, "httpMethod": "POST",
            "fileSize": str(len(content)),
        }  # fmt: skip
        staged = self._run(ops.STAGE, result="stagedUploadsCreate", input=[target])["stagedTargets"][0]
        self.shop.upload(staged, name, file.media_type, content)
        image = {
            "originalSource": staged["resourceUrl"], "contentType": "IMAGE", "filename": name,
            "alt": self.package.alt_text[:MAX_ALT], "duplicateResolutionMode": "RAISE_ERROR",
        }  # fmt: skip
        try:
            made = self._run(ops.CREATE_FILE, result="fileCreate", files=[image])
        except ShopRefusal as refusal:
            if "FILENAME_ALREADY_EXISTS" not in refusal.codes:
                raise
            return self._find(file.sha256) or self._raise_hidden(name)
        return {"id": made["files"][0]["id"], "name": name}

    def _find(self, sha256: str) -> dict[str, Any] | None:
        """Return {"id", "name"} of the file with these bytes of this asset, if the shop's search shows it.

        Earlier attempts may have used another name, if the pattern of names or the date of the approval changed.
        """
        names = [file.name for file in self.package.files if file.sha256 == sha256]
        names += [entry["name"] for entry in self.package.previous if entry["sha256"] == sha256]
        for name in dict.fromkeys(remote_name(self.package.asset_id, name, sha256) for name in names):
            stem = name.rpartition(".")[0]
            nodes = self._run(ops.FILES_BY_NAME, search=f"filename:{stem}*")["files"]["nodes"]
            for node in nodes:
                url = ((node.get("image") or {}).get("url") or "").partition("?")[0]
                if node["fileStatus"] != "FAILED" and (not url or url.rpartition("/")[2].startswith(stem)):
                    return {"id": node["id"], "name": name}
        return None

    def _raise_hidden(self, name: str) -> dict[str, Any]:
        message = f"The shop has a file {name} already, but its search does not show it yet."
        raise DeliveryError(message, is_uncertain=True, retry_after_seconds=60)

    def _replace_failed(self, sha256: str, node: Mapping[str, Any]) -> str:
        """Delete a file that the shop could not process; return the id of the file that has its name already.

        Raises DeliveryError if there is none.
        """
        codes = {error["code"] for error in node["fileErrors"]}
        words = " ".join(error["message"] or error["code"] for error in node["fileErrors"])
        self.delete_by_id(node["id"])
        self._forget(sha256)
        if "DUPLICATE_FILENAME_ERROR" not in codes:
            raise DeliveryError(f"The shop could not process the image: {words}", is_final=not codes & PASSING)
        file = self._find(sha256)
        if file is None:
            message = "The shop has a file of this name already, but its search does not show it yet."
            raise DeliveryError(message, retry_after_seconds=60)
        self.journal.once(f"file:{sha256}", lambda: file, lambda: file)
        return str(file["id"])

    def _find_attached(self, file_id: str, product: str) -> Mapping[str, Any] | None:
        is_there = any(image["id"] == file_id for image in self.products.images(product))
        return {"product": product} if is_there else None

    def _detach(self, file_id: str, product: str) -> None:
        try:
            self._update({"id": file_id, "referencesToRemove": [product]})
        except ShopRefusal as refusal:
            if "REFERENCE_TARGET_DOES_NOT_EXIST" not in refusal.codes:
                raise

    def _delete(self, step: Step) -> bool:
        sha256 = step.key.partition(":")[2]
        file_id = step.result.get("id") if step.is_done else None
        if not step.is_done:  # its upload was cut off: the file may be there
            file = self._find(sha256)
            if file is None and step.age_seconds < SEARCH_LAG_SECONDS:
                message = "It is not known yet whether the shop has an image that was sent a moment ago."
                raise DeliveryError(message, retry_after_seconds=SEARCH_LAG_SECONDS - step.age_seconds)
            file_id = file and file["id"]
        was_there = bool(file_id) and self.delete_by_id(str(file_id))
        self._forget(sha256)
        return was_there

    def _forget(self, sha256: str) -> None:
        """Record that a file is no longer in the shop, nor at any product."""
        for kind in ("place", "variant", "attach", "file"):
            for step in self.journal.steps(f"{kind}:{sha256}"):
                self.journal.undo(step.key)

    def _update(self, *files: Mapping[str, Any]) -> None:
        self._run(ops.UPDATE_FILE, result="fileUpdate", files=list(files))

    def _run(self, operation: str, *, result: str = "", **variables: Any) -> Any:
        return self.shop.run(operation, self.limiter, result=result, **variables)


def describe_full_product(product: str) -> str:
    return f"The product {product} has {MAX_IMAGES} images, the most that Shopify takes. Delete one there."
