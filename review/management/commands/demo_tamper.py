"""`manage.py demo_tamper`: change one byte in a copy of the audit trail and show that the check finds it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config import env
from core import audit_chain
from core.models import Brand
from core.services import audit
from examples import tamper


class Command(BaseCommand):
    help = "Change one byte in a copy of a brand's audit trail and show that `audit verify` names the broken link."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--brand", default="kilnmoor", metavar="SLUG")
        parser.add_argument("--json", action="store_true", help="one JSON object as output")

    def handle(self, *args: Any, **options: Any) -> None:
        brand = Brand.objects.filter(slug=options["brand"]).first()
        if brand is None:
            raise CommandError(
                f"There is no brand {options['brand']!r}. `make demo` or `manage.py load_example` makes one."
            )
        while audit.seal(brand.pk):
            pass
        lines = list(audit.export(brand))
        if not lines:
            raise CommandError(
                f"{brand.name} has no sealed event yet: let something happen first, such as `make demo`."
            )
        original_result, original = audit_chain.verify_export(lines), _write_lines("trail.jsonl", lines)
        forgery = tamper.forge(lines, at=len(lines) // 2)
        copy = _write_lines("trail-forged.jsonl", forgery.lines)
        copy_result = audit_chain.verify_export(forgery.lines)
        if options["json"]:
            self.stdout.write(
                json.dumps({"forged_seq": forgery.seq, "original": vars(original_result), "copy": vars(copy_result)})
            )
        else:
            self._print_report(brand, original_result, original, forgery, copy, copy_result)
        if not original_result.is_intact or copy_result.first_broken_seq != forgery.seq:
            raise CommandError("The check did not behave as it must: see the lines above.")

    def _print_report(
        self,
        brand: Brand,
        original_result: audit_chain.Verification,
        original: Path,
        forgery: tamper.Forgery,
        copy: Path,
        copy_result: audit_chain.Verification,
    ) -> None:
        say = self.stdout.write
        say(f"1. The trail of {brand.name} as exported, {original}")
        say(f"   {original_result.message}")
        say(f"2. A copy in which one byte differs, {copy}")
        say(f"   Link {forgery.seq} was made by “{forgery.before}”; the copy says “{forgery.after}”.")
        say("3. The check of the copy")
        say(f"   BROKEN at link {copy_result.first_broken_seq}. {copy_result.message}")
        say("   (By hand: manage.py audit verify --file with that path. The trail in the database was not touched.)")


def _write_lines(name: str, lines: Any) -> Path:
    folder = env.var_dir() / "tamper"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
