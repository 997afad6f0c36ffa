"""`manage.py audit verify|seal|export|redact`: check, seal, export or redact the audit trail."""

from __future__ import annotations

import getpass
import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core import audit_chain
from core.management import acting
from core.models import Brand
from core.services import audit


class Command(BaseCommand):
    help = (
        "Check, seal or export the audit trail of a brand. `verify` exits 1 and names the first broken link. `redact` "
        "asks for a secret, or reads it from standard input, and removes it; see docs/operations.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["verify", "seal", "export", "redact"])
        parser.add_argument("--brand", metavar="SLUG", help="one brand; all of them without it")
        parser.add_argument("--file", type=Path, help="verify this export instead of the database")
        parser.add_argument("--anchor", metavar="SEQ:HASH", help="verify: a link noted earlier outside the database")
        parser.add_argument("--since", type=int, default=0, metavar="SEQ", help="export: only links after this number")
        parser.add_argument("--reason", default="", help="redact: why, in a sentence that stays in the trail")
        parser.add_argument("--dry-run", action="store_true", help="redact: only count the events that hold the secret")
        parser.add_argument("--as", dest="username", help="redact: who acts; without it the first superuser")
        parser.add_argument("--json", action="store_true", help="one JSON object as output")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _brands(self, options: dict[str, Any]) -> list[Brand]:
        if not options["brand"]:
            return list(Brand.objects.all())
        brand = Brand.objects.filter(slug=options["brand"]).first()
        if brand is None:
            slugs = ", ".join(Brand.objects.values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no brand {options['brand']!r}; known are: {slugs}.")
        return [brand]

    def _verify(self, options: dict[str, Any]) -> None:
        anchor = _anchor(options["anchor"])
        if options["file"]:
            with options["file"].open(encoding="utf-8") as lines:
                verifications = {str(options["file"]): audit_chain.verify_export(lines, anchor=anchor)}
        else:
            verifications = {brand.slug: audit.verify(brand, anchor=anchor) for brand in self._brands(options)}
        is_intact = all(verification.is_intact for verification in verifications.values())
        if options["json"]:
            trails = {name: vars(verification) for name, verification in verifications.items()}
            self.stdout.write(json.dumps({"is_intact": is_intact, "trails": trails}))
        else:
            for name, verification in verifications.items():
                place = "intact" if verification.is_intact else f"BROKEN at link {verification.first_broken_seq}"
                head = f" Head: {verification.head}" if verification.is_intact else ""
                self.stdout.write(f"{name}: {place}. {verification.message}{head}")
        if not is_intact:
            sys.exit(1)

    def _seal(self, options: dict[str, Any]) -> None:
        counts = {}
        for brand in self._brands(options):
            counts[brand.slug] = 0
            while sealed := audit.seal(brand.pk):
                counts[brand.slug] += sealed
        if options["json"]:
            self.stdout.write(json.dumps({"sealed": counts}))
        else:
            self.stdout.write("\n".join(f"{slug}: {count} sealed" for slug, count in counts.items()))

    def _export(self, options: dict[str, Any]) -> None:
        brands = self._brands(options)
        if len(brands) != 1:
            raise CommandError("Name one brand to export with --brand: each has a trail of its own.")
        for line in audit.export(brands[0], since=options["since"]):
            self.stdout.write(line)

    def _redact(self, options: dict[str, Any]) -> None:
        secret = (getpass.getpass("Secret to remove: ") if sys.stdin.isatty() else sys.stdin.readline()).rstrip("\r\n")
        by = acting.acting_user(options["username"])

        def remove() -> dict[str, Any]:
            counts = {}
            for brand in self._brands(options):
                if options["dry_run"]:
                    count = audit.count_containing(brand=brand, secret=secret) if secret else 0
                else:
                    count = audit.remove_text(brand=brand, by=by, secret=secret, reason=options["reason"])
                counts[brand.slug] = count
            return {"is_dry_run": options["dry_run"], "events": counts}

        done = acting.run_or_report_refusal(remove, as_json=options["json"], stdout=self.stdout)
        if options["json"]:
            self.stdout.write(json.dumps(done))
            return
        words = "hold it" if options["dry_run"] else "no longer hold it"
        self.stdout.write("\n".join(f"{slug}: {count} events {words}" for slug, count in done["events"].items()))


def _anchor(text: str | None) -> tuple[int, str] | None:
    if not text:
        return None
    seq, _, digest = text.partition(":")
    if not (seq.isdecimal() and len(seq) < 19) or len(digest) != 64:
        raise CommandError(f"--anchor {text!r}: expected a link's number, a colon and its 64 hex digits.")
    return int(seq), digest
