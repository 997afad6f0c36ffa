"""The person on whose behalf a command acts, and the output of a command that is refused."""

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
    """`--as USERNAME` and `--json`."""
    parser.add_argument("--as", dest="username", help="who acts; without it the first superuser")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def person(username: str | None) -> User:
    """The active user of that name, or the first active superuser. Raises CommandError."""
    people = User.objects.filter(is_active=True)
    people = people.filter(username=username) if username else people.filter(is_superuser=True)
    found = people.order_by("pk").first()
    if found is None:
        who = f"no active user {username!r}" if username else "no superuser"
        raise CommandError(f"There is {who}; name one with --as USERNAME, or make one: manage.py createsuperuser.")
    return found


def told(call: Callable[[], dict[str, Any]], *, as_json: bool, stdout: OutputWrapper) -> dict[str, Any]:
    """The call's answer. A refusal is printed (as JSON if asked), each problem in a line of its own, and exits 1."""
    try:
        return call()
    except DomainError as refusal:
        problems = refusal.problems if isinstance(refusal, Invalid) else []
        if as_json:
            found = [{"pointer": one.pointer, "message": one.message, "value": one.value} for one in problems]
            stdout.write(json.dumps({"error": refusal.message, "problems": found, **refusal.extra}, default=str))
            sys.exit(1)
        lines = [f"  {one.pointer}: {one.message}" for one in problems]
        raise CommandError("\n".join([refusal.message, *lines])) from refusal
