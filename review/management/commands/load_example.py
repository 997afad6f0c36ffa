"""`manage.py load_example`: create the example brands with people, guide, prompts, campaign and review."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config import env
from core.errors import DomainError
from examples import loading


class Command(BaseCommand):
    help = "Load the two example brands (without products: `import_feed` brings those). Safe to run again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object as output")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            examples = loading.load_all(delivered_to=env.var_dir() / "approved")
        except (DomainError, ValueError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps([_example_json(example) for example in examples]))
            return
        for example in examples:
            self.stdout.write(f"{example.brand.name} ({example.brand.slug}): campaign “{example.campaign.name}”")
            for login in example.logins:
                self.stdout.write(f"  {login.username:8} {login.name:16} {', '.join(login.roles)}")
        self.stdout.write(f"Everyone's password is {loading.PASSWORD}. It is public: use it for the example only.")


def _example_json(example: loading.Example) -> dict[str, Any]:
    return {
        "brand": example.brand.slug,
        "campaign": example.campaign.pk,
        "feed": str(example.feed),
        "photos": str(example.photos),
        "logins": [{"username": login.username, "roles": list(login.roles)} for login in example.logins],
    }
