"""The download of one file of an image, with its marks of origin."""

from __future__ import annotations

from django.http import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from core import stored_files
from core.access import Action
from core.errors import NotFound
from core.pages import BrandRequest, brand_page
from review.selectors import changes
from review.services.marked_files import get_marked_file


@require_safe
@brand_page(Action.PULL)
def download(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Send a file as it leaves Proofline, also one that is not approved yet."""
    rendition = changes.get_file(user=request.user, rendition_id=pk)
    if rendition.version.asset.brand_id != request.brand.pk:
        raise NotFound(_("There is no file %(number)s.") % {"number": pk})
    suffix = "jpg" if rendition.image_format == "jpeg" else rendition.image_format
    name = f"{rendition.version.asset.subject.key}-{rendition.output_spec.slug}.{suffix}"
    return stored_files.file_response(get_marked_file(rendition).storage_key, download_name=name)
