"""Uploaded files, checked by size before they are read into memory."""

from __future__ import annotations

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

from core.errors import Invalid, Problem


def get_uploaded_file(request: HttpRequest, name: str, *, most: int, what: str) -> UploadedFile:
    """Return the file of a form field. Raises Invalid if it is missing, empty, or has more than `most` bytes."""
    files = get_uploaded_files(request, name, most=most, what=what)
    return files[0]


def get_uploaded_files(
    request: HttpRequest, name: str, *, most: int, what: str, at_once: int = 50
) -> list[UploadedFile]:
    """Return all files of a form field, each checked as in `get_uploaded_file`."""
    files = [file for file in request.FILES.getlist(name) if isinstance(file, UploadedFile)]
    if not files:
        raise Invalid(f"Choose {what} first.")
    if len(files) > at_once:
        raise Invalid(f"{len(files)} files at once are too many; take {at_once}, or pack them into a ZIP.")
    problems = []
    for file in files:
        size = file.size or 0
        if size > most:
            message = f"{file.name} has {size / 2**20:.0f} MB; at most {most // 2**20} MB are accepted."
            problems.append(Problem(name, message, str(file.name)[:300]))
        elif not size:
            problems.append(Problem(name, f"{file.name} is empty.", str(file.name)[:300]))
    if problems:
        raise Invalid(problems[0].message, problems)
    return files
