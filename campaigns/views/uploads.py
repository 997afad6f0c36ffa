"""Uploaded files, checked by size before they are read into memory."""

from __future__ import annotations

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.utils.translation import gettext as _

from core.errors import Invalid, Problem

MAX_FILES = 50


def get_uploaded_files(request: HttpRequest, name: str, *, most: int, missing: str) -> list[UploadedFile]:
    """Return the files of a form field. Raises Invalid if there is none (`missing`), or one is empty or too large."""
    files = [file for file in request.FILES.getlist(name) if isinstance(file, UploadedFile)]
    if not files:
        raise Invalid(missing)
    if len(files) > MAX_FILES:
        message = _("%(count)d files at once are too many; take %(most)d, or pack them into a ZIP.")
        raise Invalid(message % {"count": len(files), "most": MAX_FILES})
    problems = []
    for file in files:
        facts = {"name": file.name, "size": (file.size or 0) / 2**20, "most": most // 2**20}
        if not file.size:
            problems.append(Problem(name, _("%(name)s is empty.") % facts, str(file.name)[:300]))
        elif file.size > most:
            message = _("%(name)s has %(size).0f MB; at most %(most)d MB are accepted.") % facts
            problems.append(Problem(name, message, str(file.name)[:300]))
    if problems:
        raise Invalid(problems[0].message, problems)
    return files
