"""Import a product feed from the command line."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.choices import SubjectKind
from campaigns.errors import DomainError
from campaigns.models import Brand, FeedImport, User
from campaigns.selectors import imports as selectors
from campaigns.services import imports


class Command(BaseCommand):
    help = "Import a CSV or XLSX product feed into a brand, in full or not at all. Exit status 1 if it has mistakes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="CSV, XLSX, or Shopify's product CSV")
        parser.add_argument("--brand", required=True, help="slug of the brand")
        parser.add_argument("--dry-run", action="store_true", help="check and count, change nothing")
        parser.add_argument(
            "--kind", default=SubjectKind.PRODUCT, choices=SubjectKind.values, help="what rows are that do not say"
        )
        parser.add_argument("--as", dest="username", help="who imports; without it the first superuser")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        by = _person(options["username"])
        try:
            done = imports.import_feed(
                brand=_brand(options["brand"]),
                file=file,
                file_name=file.name,
                by=by,
                dry_run=options["dry_run"],
                kind=options["kind"],
            )
        except DomainError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps(_plain(by, done), ensure_ascii=False))
        else:
            self._tell(by, done)
        if done.error_count:
            raise SystemExit(1)

    def _tell(self, by: User, done: FeedImport) -> None:
        counts = f"{done.created:,} created, {done.updated:,} updated, {done.unchanged:,} unchanged"
        self.stdout.write(f"{done.file_name}: {done.rows:,} rows, {done.get_status_display().lower()}: {counts}")
        for group in selectors.groups(by, done):
            self.stdout.write(f"  {group.sentence}")
        for issue in selectors.issues(by, done)[:20]:
            self.stdout.write(f"    {issue.message}")
        if done.error_count > 20:
            self.stdout.write(f"    … {done.error_count - 20:,} more; --json lists the stored ones")


def _brand(slug: str) -> Brand:
    brand: Brand | None = Brand.objects.filter(slug=slug).first()
    if brand is None:
        known = ", ".join(Brand.objects.values_list("slug", flat=True)[:20]) or "none yet"
        raise CommandError(f"There is no brand {slug!r}; known are: {known}.")
    return brand


def _person(username: str | None) -> User:
    people = User.objects.filter(username=username) if username else User.objects.filter(is_superuser=True)
    person = people.filter(is_active=True).order_by("pk").first()
    if person is None:
        who = f"no active user {username!r}" if username else "no superuser"
        raise CommandError(f"There is {who}; name one with --as USERNAME, or make one: manage.py createsuperuser.")
    return person


def _plain(by: User, done: FeedImport) -> dict[str, Any]:
    return {
        "import": done.pk,
        "status": done.status,
        "rows": done.rows,
        "created": done.created,
        "updated": done.updated,
        "unchanged": done.unchanged,
        "error_count": done.error_count,
        "errors": list(selectors.issues(by, done).values("row", "column", "cell", "value", "cause", "message")),
    }
