"""The model store at the command line: register local models, list them, hash them again."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat

from core.errors import DomainError
from generation.models import LocalModel
from generation.services.endpoints import local_models

COLUMNS = ("name", "path", "family", "revision", "sha256", "size_bytes", "licence", "usage_terms", "is_usable")


class Command(BaseCommand):
    help = "Register a folder or file of weights with its licence (add), list what is registered, hash it anew (hash)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="register a diffusers folder or a .safetensors file")
        add.add_argument("path")
        add.add_argument("--name", required=True)
        add.add_argument("--licence", required=True, help="its name, and where its text is")
        add.add_argument("--terms", default="", help="what people must know who pick it")
        listed = actions.add_parser("list", help="what is registered")
        listed.add_argument("--json", action="store_true", help="print one JSON list")
        actions.add_parser("hash", help="compute the sha256 of a model's whole content").add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            {"add": self._add, "list": self._list, "hash": self._hash}[options["action"]](options)
        except DomainError as error:
            sentences = [str(error), *(problem.message for problem in getattr(error, "problems", ()))]
            raise CommandError(" ".join(sentences)) from error

    def _add(self, options: dict[str, Any]) -> None:
        given = {name: options[name] for name in ("path", "name", "licence")}
        model = local_models.register(**given, usage_terms=options["terms"], by=None, is_hashed_later=False)
        sha256 = local_models.hash_content(model_id=model.pk)
        size = filesizeformat(model.size_bytes)
        self.stdout.write(f"{model.name}: {local_models.family_title(model.family)}, {size}, {sha256}")

    def _list(self, options: dict[str, Any]) -> None:
        rows = list(LocalModel.objects.all())
        if options["json"]:
            self.stdout.write(json.dumps([{name: getattr(row, name) for name in COLUMNS} for row in rows]))
            return
        for row in rows:
            state = "" if row.is_usable else ", not to be used any more"
            hashed = row.sha256 or "not hashed yet"
            family = local_models.family_title(row.family)
            self.stdout.write(f"{row.name}: {family}, {row.licence}{state}. {row.path} ({hashed})")
        if not rows:
            self.stdout.write("No model is registered: manage.py models add PATH --name … --licence …")

    def _hash(self, options: dict[str, Any]) -> None:
        if (model := LocalModel.objects.filter(name=options["name"]).first()) is None:
            raise CommandError(f"There is no model {options['name']!r}; `models list` shows what there is.")
        if not (sha256 := local_models.hash_content(model_id=model.pk)):
            raise CommandError(f"{model.path} is not what was registered: its files were changed. Register it anew.")
        self.stdout.write(f"{model.name}: {sha256}")
