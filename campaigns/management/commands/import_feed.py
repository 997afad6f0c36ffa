"""Import a product feed from the command line, or take an import back."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.choices import ImportStatus, SubjectKind
from campaigns.models import FeedImport
from campaigns.selectors import imports as selectors
from campaigns.services import imports
from core.errors import DomainError
from core.management import acting
from core.models import Brand, User


class Command(BaseCommand):
    help = "Import a feed into a brand, in full or not at all, or undo an import. Exit status 1 if it has mistakes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, nargs="?", help="CSV, TSV, XLSX, JSON or XML, also as shops export them")
        parser.add_argument("--brand", required=True, help="slug of the brand")
        parser.add_argument("--dry-run", action="store_true", help="check and count, change nothing")
        parser.add_argument(
            "--kind", default=SubjectKind.PRODUCT, choices=SubjectKind.values, help="what rows are that do not say"
        )
        mapping_help = 'file with, or literally, {"Artikel": "key", "Was": "name"}'
        parser.add_argument("--mapping", type=_mapping, metavar="JSON", help=mapping_help)
        fix_help = "price_unreadable=leave_empty"
        parser.add_argument("--fix", action="append", default=[], metavar="CAUSE=FIX", help=fix_help)
        parser.add_argument("--undo", type=int, metavar="IMPORT", help="take this import back; no file then")
        acting.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        by = acting.acting_user(options["username"])
        brand: Brand | None = Brand.objects.filter(slug=options["brand"]).first()
        if brand is None:
            slugs = ", ".join(Brand.objects.values_list("slug", flat=True)[:20]) or "none yet"
            raise CommandError(f"There is no brand {options['brand']!r}; known are: {slugs}.")
        try:
            if options["undo"] is None:
                feed_import = self._import(brand, options, by)
            elif options["file"] is None:
                feed_import = selectors.get(by, options["undo"], brand_id=brand.pk)
                feed_import = imports.undo(import_id=feed_import.pk, by=by)
            else:
                raise CommandError("Name a file to import or --undo IMPORT, not both.")
        except DomainError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps(_plain(by, feed_import), ensure_ascii=False))
        else:
            self._tell(by, feed_import)
        if feed_import.error_count:
            raise SystemExit(1)

    def _import(self, brand: Brand, options: dict[str, Any], by: User) -> FeedImport:
        file: Path | None = options["file"]
        if file is None or not file.is_file():
            raise CommandError(f"There is no file {file}." if file else "Name the file to import, or --undo IMPORT.")
        settings = {name: options[name] for name in ("dry_run", "kind", "mapping")}
        pairs = [text.partition("=") for text in options["fix"]]
        fixes = [{"cause": cause, "fix": fix} for cause, _, fix in pairs]
        return imports.import_feed(brand=brand, file=file, file_name=file.name, by=by, fixes=fixes, **settings)

    def _tell(self, by: User, feed_import: FeedImport) -> None:
        if feed_import.status == ImportStatus.UNDONE:
            counts = ", ".join(f"{count:,} {what}" for what, count in feed_import.undone_counts.items())
            self.stdout.write(f"{feed_import.file_name}: undone: {counts}")
            return
        counts = ", ".join(f"{getattr(feed_import, name):,} {name}" for name in ("created", "updated", "unchanged"))
        status = feed_import.get_status_display().lower()
        self.stdout.write(f"{feed_import.file_name}: {feed_import.rows:,} rows, {status}: {counts}")
        for group in selectors.group_issues(by, feed_import):
            self.stdout.write(f"  {group.sentence}")
        for issue in selectors.list_issues(by, feed_import)[:20]:
            self.stdout.write(f"    {issue.message}")
        if feed_import.error_count > 20:
            self.stdout.write(f"    … {feed_import.error_count - 20:,} more; --json lists the stored ones")


def _mapping(text: str) -> dict[str, str]:
    """Return heading -> field, from a file or from literal JSON."""
    try:
        mapping = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentTypeError(f"cannot read {text}: {error}") from None
    except ValueError as error:
        raise ArgumentTypeError(f"is not JSON: {error}") from None
    if not isinstance(mapping, dict):
        raise ArgumentTypeError("expected an object: heading -> field")
    return mapping


def _plain(by: User, feed_import: FeedImport) -> dict[str, Any]:
    names = ("status", "rows", "created", "updated", "unchanged", "error_count")
    issues = selectors.list_issues(by, feed_import).values("row", "column", "cell", "value", "cause", "message")
    return {
        "import": feed_import.pk,
        **{name: getattr(feed_import, name) for name in names},
        "undone": feed_import.undone_counts,
        "errors": list(issues),
    }
