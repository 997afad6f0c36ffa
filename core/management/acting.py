"""Helpers of management commands: the acting person, and the output of a refusal."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from core.errors import DomainError, Invalid
from core.models import User


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--as", dest="username", help="who acts; without it the first superuser")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def acting_user(username: str | None) -> User:
    """Return the active user of that name, or the first active superuser. Raises CommandError."""
    people = User.objects.filter(is_active=True)
    people = people.filter(username=username) if username else people.filter(is_superuser=True)
    user = people.order_by("pk").first()
    if user is None:
        missing = f"no active user {username!r}" if username else "no superuser"
        raise CommandError(f"There is {missing}; name one with --as USERNAME, or make one: manage.py createsuperuser.")
    return user


def run_or_report_refusal(
    call: Callable[[], dict[str, Any]], *, as_json: bool, stdout: OutputWrapper
) -> dict[str, Any]:
    """Return the call's result. A refusal is printed, with one line per problem or as JSON, and exits 1."""
    try:
        return call()
    except DomainError as refusal:
        problems = refusal.problems if isinstance(refusal, Invalid) else []
        if as_json:
            details = {"problems": [vars(problem) for problem in problems], **refusal.extra}
            stdout.write(json.dumps({"error": refusal.message, **details}, default=str))
            sys.exit(1)
        lines = [f"  {problem.pointer}: {problem.message}" for problem in problems]
        raise CommandError("\n".join([refusal.message, *lines])) from refusal
