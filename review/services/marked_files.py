"""Put marks of origin into the files of approved images before they leave Proofline, and keep the marked files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

from c2pa import C2paError
from django.conf import settings
from django.utils.translation import gettext as _

from campaigns.models import ReferencePhoto
from core import stored_files
from core.errors import NotFound, StorageFailed, Unavailable
from generation.engines.base import CONTROL, SCENE
from generation.models import AssetVersion, Endpoint, MarkedFile, PinnedInputs, Rendition
from generation.provenance import marks
from generation.provenance.credentials import MEDIA_TYPES, Ingredient, Making
from generation.provenance.signers import Identity
from generation.provenance.xmp import Fields
from review.delivery.base import DeliveryError
from review.selectors.lineage import summary
from review.services import signing

FORMAT: Final = 1
"""The number of the marks' format. Another number makes all marked files anew."""


@dataclass(frozen=True)
class MarkOptions:
    """What a destination wants beyond the usual marks. Both may contain what is private, so they are off."""

    has_prompt: bool = False
    has_prompt_writer: bool = False


class Marker:
    """Returns the marked files of renditions. Those that exist are found by one query, the others are made when asked.

    Raises DeliveryError if the settings name no signer that can be used.
    """

    def __init__(self, renditions: Iterable[Rendition], options: MarkOptions | None = None) -> None:
        self._options = options or MarkOptions()
        try:
            self._identity = signing.get_identity()
        except (OSError, ValueError, ImportError) as error:
            raise DeliveryError(f"The files cannot be signed: {error}") from error
        rows = MarkedFile.objects.filter(rendition__in=[rendition.pk for rendition in renditions])
        self._stored = {(row.rendition_id, row.marks): row for row in rows}

    def mark(self, version: AssetVersion, rendition: Rendition) -> MarkedFile:
        """Return the marked file of a rendition of the version.

        Not to be called in a transaction: making one takes about 15 ms, and longer with a time stamp. Raises
        DeliveryError if the file cannot be read or signed.
        """
        fields = fields_of(version, rendition, self._options)
        digest = digest_of(fields, self._identity)
        stored = self._stored.get((rendition.pk, digest))
        return stored or _make(rendition, version, fields, digest, self._identity)


def get_marked_file(rendition: Rendition) -> MarkedFile:
    """Return the file with the usual marks as they are now. Raises Unavailable if it cannot be made."""
    try:
        return Marker([rendition]).mark(rendition.version, rendition)
    except DeliveryError as error:
        raise Unavailable(error.message) from error


def get_pulled_file(rendition: Rendition) -> MarkedFile:
    """Return the marked file that integrators and image feeds get, the one that the pull API lists.

    It is made now if the task of released_files.py has not made it yet. Raises Unavailable if it cannot be made.
    """
    if rendition.marked_file is None:
        file = get_marked_file(rendition)
        Rendition.objects.filter(pk=rendition.pk, marked_file=None).update(marked_file=file)
        rendition.refresh_from_db(fields=["marked_file"])  # the task may have been quicker, with other settings
    assert rendition.marked_file is not None
    return rendition.marked_file


def read_setup() -> str:
    """Return a digest of the settings that the usual marks depend on, "" if the settings name no signer.

    Self-made signers are taken as one, because each machine has its own.
    """
    try:
        identity = signing.get_identity()
        signer = "self-made" if identity.is_self_made else identity.fingerprint
    except (OSError, ValueError, ImportError):
        return ""
    disclaimers = Endpoint.objects.exclude(disclaimer="").order_by("pk").values_list("pk", "disclaimer")
    content = json.dumps([FORMAT, settings.SITE_URL, signer, list(disclaimers)])
    return sha256(content.encode()).hexdigest()


def fields_of(version: AssetVersion, rendition: Rendition, options: MarkOptions) -> Fields:
    """Return what the marks say. Only what never changes for a version, so that the marked file stays the same."""
    record = summary(version)
    model, prompt = record.get("model", {}), version.asset.cell.run.prompt_version
    is_generated = "trained" in record["digital_source_type"].lower()
    return Fields(
        document_id=f"xmp.did:{uuid.uuid5(uuid.NAMESPACE_URL, f'{settings.SITE_URL}/renditions/{rendition.pk}')}",
        source_type=record["digital_source_type"],
        ai_system=(model.get("name") or model.get("engine", "")) if is_generated else "",
        ai_version=model.get("revision", "") if is_generated else "",
        prompt=record.get("rendered_prompt", "") if options.has_prompt else "",
        prompt_writer=prompt.created_by.display_name if options.has_prompt_writer else "",
        caution=record.get("disclaimer", ""),
        made_at=version.created_at.isoformat(timespec="seconds"),
        tool="Proofline",
    )


def digest_of(fields: Fields, identity: Identity) -> str:
    """Return what tells these marks from others: the `marks` of a MarkedFile."""
    content = json.dumps([FORMAT, asdict(fields), identity.fingerprint], sort_keys=True)
    return sha256(content.encode()).hexdigest()


def _make(rendition: Rendition, version: AssetVersion, fields: Fields, digest: str, identity: Identity) -> MarkedFile:
    """Make, store and record a marked file. Of several workers at once, all get the file of the first."""
    making = _making(version, rendition, fields)
    try:
        marked = marks.mark(_read_approved(rendition), rendition.image_format, fields, making, identity)
    except (C2paError, ValueError) as error:
        raise DeliveryError(f"The file for {rendition.output_spec.slug} cannot be signed: {error}") from error
    file = stored_files.put(marked, suffix=rendition.image_format)
    row = MarkedFile(
        rendition=rendition,
        marks=digest,
        document_id=fields.document_id,
        sha256=file.sha256,
        storage_key=file.key,
        bytes=file.bytes,
    )
    MarkedFile.objects.bulk_create([row], ignore_conflicts=True)
    return MarkedFile.objects.get(rendition=rendition, marks=digest)


def _read_approved(rendition: Rendition) -> bytes:
    """Return the file as it was approved. Raises DeliveryError if it is missing, StorageFailed if it has changed."""
    try:
        data = stored_files.read(rendition.storage_key)
    except NotFound as error:
        raise DeliveryError(error.message) from error
    if sha256(data).hexdigest() != rendition.sha256:
        message = _(
            "The stored file of %(sku)s for %(spec)s is not the one that was approved: its bytes have changed. An"
            " operator has to restore %(key)s from a backup."
        )
        names = {"sku": rendition.version.asset.subject.key, "spec": rendition.output_spec.slug}
        raise StorageFailed(message % {**names, "key": rendition.storage_key})
    return data


def _making(version: AssetVersion, rendition: Rendition, fields: Fields) -> Making:
    engine = version.job.endpoint.engine if version.job else ""
    return Making(
        title=f"{version.asset.subject.key} {rendition.output_spec.slug}",
        source_type=fields.source_type,
        agent=fields.ai_system or engine or "Proofline",
        version=fields.ai_version,
        steps=_steps(version, rendition),
        ingredients=_ingredients(version, is_composite=fields.source_type.startswith("composite")),
        lineage={"document_id": fields.document_id, **({"caution": fields.caution} if fields.caution else {})},
    )


def _steps(version: AssetVersion, rendition: Rendition) -> list[str]:
    """Return what happened between the engine's image and the file, as actions of C2PA."""
    master = version.master
    is_cropped = abs(master.width / master.height - rendition.width / rendition.height) > 0.01
    is_resized = (master.width, master.height) != (rendition.width, rendition.height)
    steps = {
        "c2pa.edited": version.source == "retouched",
        "c2pa.cropped": is_cropped,
        "c2pa.resized": is_resized,
        "c2pa.addedText": bool(rendition.output_spec.label_text),
        "c2pa.converted": master.image_format != rendition.image_format,
    }
    return [step for step, is_done in steps.items() if is_done]


def _ingredients(version: AssetVersion, *, is_composite: bool) -> list[Ingredient]:
    """Return the images that the version was made from. A composite shows its product's photo, which is its parent.

    An image has at most one parent.
    """
    spec = getattr(version.job, "frozen", None)
    images: Mapping[str, Any] = spec.spec.get("images", {}) if spec else {}
    photo_hashes, photo_key = _product_photo(version)
    ingredients: list[Ingredient] = []
    for role, ref in images.items():
        is_photo = ref["sha256"] in photo_hashes and role not in (SCENE, CONTROL)
        key = photo_key if is_photo and photo_key else ref["key"]
        suffix = key.rpartition(".")[2]
        if suffix in MEDIA_TYPES and stored_files.exists(key):
            is_parent = is_photo and is_composite and not any(other.is_parent for other in ingredients)
            name = "product photo" if is_photo else role
            ingredients.append(Ingredient(name, suffix, partial(stored_files.read, key), is_parent))
    return ingredients


def _product_photo(version: AssetVersion) -> tuple[set[str], str]:
    """Return (sha256 of the product's photo and of its cut-out, storage key of the photo) as they were planned.

    The photo stands for its cut-out, because its file may have marks of its own. Its key is "" if it was replaced.
    """
    pinned = PinnedInputs.objects.filter(cell_id=version.asset.cell_id).first()
    if pinned is None:
        return set(), ""
    photo = ReferencePhoto.objects.filter(pk=pinned.photo_pk or 0, sha256=pinned.photo_sha256).first()
    return {pinned.photo_sha256, pinned.cutout_sha256}, photo.storage_key if photo else ""
