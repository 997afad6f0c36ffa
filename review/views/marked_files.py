"""The download of one file of an image, with its marks of origin."""

from __future__ import annotations

from django.http import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from core import stored_files
from core.access import Action
from core.errors import NotFound
from core.pages import BrandRequest, brand_page
from generation.models import Rendition
from review.selectors import lineage
from review.services.marked_files import get_marked_file


@require_safe
@brand_page(Action.PULL)
def download(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Send a file as it leaves Proofline, also one that is not approved yet."""
    rows = Rendition.objects.visible_to(request.user).filter(pk=pk, version__asset__brand=request.brand)
    rendition = rows.select_related("output_spec", *(f"version__{path}" for path in lineage.RELATED)).first()
    if rendition is None:
        raise NotFound(_("There is no file %(number)s.") % {"number": pk})
    suffix = "jpg" if rendition.image_format == "jpeg" else rendition.image_format
    name = f"{rendition.version.asset.subject.key}-{rendition.output_spec.slug}.{suffix}"
    return stored_files.file_response(get_marked_file(rendition).storage_key, download_name=name)
