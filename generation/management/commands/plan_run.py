"""Plan a run from the command line, or only show its preview."""

from __future__ import annotations

import dataclasses
import json
import sys
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext

from campaigns.models import PromptVersion
from campaigns.prompts import listing
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import subjects as subject_selectors
from core.errors import Invalid, Problem
from core.management import acting
from core.models import User
from core.pages import parse_row_id
from generation.choices import RunShape, Stage
from generation.models import Endpoint
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments


class Command(BaseCommand):
    help = "Plan a run: cells and jobs, held until release_run. With --preview nothing is written."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--brand", required=True, help="slug of the brand")
        parser.add_argument("--campaign", required=True, help="slug of the campaign")
        parser.add_argument(
            "--prompt", required=True, metavar="SLUG[:NUMBER]", help="prompt; its newest version if no number"
        )
        parser.add_argument("--endpoint", required=True, help="slug of the endpoint")
        parser.add_argument("--stage", default=Stage.PILOT, choices=Stage.values)
        parser.add_argument("--subjects", help="SKUs, comma-separated; without it all of the campaign")
        parser.add_argument("--sample", type=int, help="only so many subjects, spread over them")
        parser.add_argument("--axes", type=json.loads, help='instead of the prompt\'s own: \'{"backdrop": ["white"]}\'')
        parser.add_argument(
            "--rows", type=Path, help="a list instead of a matrix: a table (CSV, XLSX, JSON) with a column `sku`"
        )
        parser.add_argument("--aspects", help='only these of the campaign\'s, comma-separated, such as "1:1,4:5"')
        parser.add_argument("--missing", action="store_true", help="only what is neither there nor on its way")
        parser.add_argument(
            "--release-at", type=datetime.fromisoformat, metavar="TIME", help="such as 2026-11-24T08:00+01:00"
        )
        parser.add_argument("--name", default="", help="the run's name")
        parser.add_argument("--priority", type=int, default=0)
        parser.add_argument("--preview", action="store_true", help="only look: count, cost, first prompts, problems")
        acting.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        by = acting.acting_user(options["username"])
        answer = acting.run_or_report_refusal(
            lambda: self._answer(by, options), as_json=options["json"], stdout=self.stdout
        )
        if options["json"]:
            self.stdout.write(json.dumps(answer, default=str))
        else:
            for name, value in answer.items():
                self.stdout.write(f"{name}: {_shown(value)}")
        if answer.get("can_be_planned") is False:
            sys.exit(1)

    def _answer(self, by: User, options: dict[str, Any]) -> dict[str, Any]:
        arguments = _arguments(by, options)
        if options["preview"]:
            seen = plans.preview(arguments)
            return {**dataclasses.asdict(seen), "can_be_planned": seen.can_be_planned, "fits_budget": seen.fits_budget}
        run = plans.plan(
            arguments, name=options["name"], priority=options["priority"], release_at=options["release_at"]
        )
        return {
            "run": run.pk,
            "name": run.name,
            "state": run.state,
            "release_at": run.release_at and run.release_at.isoformat(),
            "stage": run.stage,
            "cells": run.cell_count,
            "jobs": run.job_count,
            "cost": str(run.quoted_cost),
            "currency": run.campaign.brand.currency,
            "left_out": run.left_out,
        }


def _arguments(by: User, options: dict[str, Any]) -> PlanArguments:
    campaign = campaign_selectors.get_by_slug(by, options["brand"], options["campaign"])
    keys = _split(options["subjects"])
    arguments = PlanArguments(
        campaign=campaign,
        prompt_version=_version(by, options["brand"], options["prompt"]),
        endpoint=_endpoint(options["endpoint"]),
        stage=options["stage"],
        by=by,
        subjects=subject_selectors.get_ids_by_key(campaign.brand, keys) if keys else None,
        axes=options["axes"],
        sample=options["sample"],
        aspects=_split(options["aspects"]) or None,
        missing_only=options["missing"],
    )
    if options["rows"]:
        read = listing.read_listing(options["rows"].read_bytes())
        if not read.is_valid:
            problems = [Problem(issue.cell or f"row {issue.row}", issue.message, issue.value) for issue in read.issues]
            raise Invalid(gettext("%(file)s has mistakes.") % {"file": options["rows"].name}, problems)
        return dataclasses.replace(arguments, shape=RunShape.LIST, rows=read.rows)
    return arguments


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _version(by: User, brand: str, named: str) -> PromptVersion:
    slug, _, number = named.partition(":")
    rows = PromptVersion.objects.visible_to(by).select_related("template__brand", "style")
    rows = rows.filter(template__brand__slug=brand, template__slug=slug)
    if number:
        if parse_row_id(number) is None:
            raise CommandError(f"{named!r}: after the colon stands the version's number.")
        rows = rows.filter(number=parse_row_id(number))
    version: PromptVersion | None = rows.order_by("-number").first()
    if version is None:
        raise CommandError(f"The brand {brand!r} has no prompt {named!r}.")
    return version


def _endpoint(slug: str) -> Endpoint:
    if (endpoint := Endpoint.objects.filter(slug=slug).first()) is None:
        slugs = ", ".join(Endpoint.objects.values_list("slug", flat=True)) or "none yet"
        raise CommandError(f"There is no endpoint {slug!r}; known are: {slugs}.")
    return endpoint


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "".join(f"\n  {part}" for part in value) or "none"
    return str(value)
