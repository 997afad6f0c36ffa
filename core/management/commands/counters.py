"""`manage.py counters verify|rebuild|fold`: compare the kept counts with the rows, or count again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core import counts


class Command(BaseCommand):
    help = "Compare the kept counts with the rows themselves (exits 1 if one is wrong), count again, or fold."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["verify", "rebuild", "fold"])

    def handle(self, *args: Any, **options: Any) -> None:
        is_right = True
        for model in counts.list_models():
            name = model._meta.label
            if options["action"] == "rebuild":
                counts.rebuild(model)
                self.stdout.write(f"{name}: counted again")
            elif options["action"] == "fold":
                self.stdout.write(f"{name}: {counts.fold(model)} rows folded")
            else:
                differences = counts.find_differences(model)
                is_right &= not differences
                self.stdout.write(f"{name}: {'right' if not differences else f'{len(differences)} wrong'}")
                for difference in differences[:20]:
                    self.stdout.write(f"  {difference._asdict()}")
        if not is_right:
            raise CommandError("Counts are wrong: `manage.py counters rebuild` counts again; report this as a fault.")
