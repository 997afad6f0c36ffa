"""Public addresses of the files of approved images: signed, the same as long as the file is, and ended by a recall.

Anybody who has the address can open it, as shops and Google must. It is not listed anywhere but in image feeds.
"""

from __future__ import annotations

from django.conf import settings
from django.core import signing
from django.utils.translation import gettext as _

from core.errors import Gone, NotFound
from core.pages import parse_row_id
from generation.finishing.names import EXTENSIONS
from generation.models import Asset, Rendition
from review.selectors import lineage, usable_assets

_SALT = "proofline.public_files"


def public_url(rendition_id: int, image_format: str) -> str:
    """Return the address of a file of an approved image. Its end names the format, as Google asks for."""
    signature = signing.Signer(salt=_SALT).signature(str(rendition_id))
    name = f"{rendition_id}-{signature}.{EXTENSIONS[image_format]}"
    return f"{settings.SITE_URL.rstrip('/')}/feeds/images/{name}"


def get_public_file(name: str) -> Rendition:
    """Return the file of an address that `public_url` made; `name` is its last part.

    Raises NotFound for another address, and Gone if the image may no longer be used: recalled, replaced, revoked.
    """
    missing = NotFound(_("There is no image at this address."))
    stem, _dot, extension = name.rpartition(".")
    number, _dash, signature = stem.partition("-")
    try:
        signing.Signer(salt=_SALT).unsign(f"{number}:{signature}")
    except signing.BadSignature:
        raise missing from None
    rows = Rendition.objects.filter(pk=parse_row_id(number) or 0).select_related(
        "output_spec", "marked_file", *(f"version__{path}" for path in lineage.RELATED)
    )
    rendition = rows.first()
    if rendition is None or EXTENSIONS[rendition.image_format] != extension:
        raise missing
    asset = usable_assets.released(Asset.objects.filter(current_version=rendition.version_id)).first()
    if asset is None or not usable_assets.is_pinned(asset.pinned, rendition.output_spec.slug, rendition.sha256):
        raise Gone(_("This image was withdrawn. Remove your copies of it."))
    return rendition
