"""Test that a run draws the label of each output spec into its files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from campaigns.models import OutputSpec
from campaigns.visible_labels import Label
from core import stored_files
from generation.engines.base import Result
from generation.finishing.labels import draw_label
from generation.models import JobSpec, Run
from generation.services.dispatch.claims import ClaimedJob
from generation.workers.job_contexts import JobContext, load_contexts
from generation.workers.product import develop_result
from tests.support import queued_runs
from tests.support.engines import noise_pixels

pytestmark = pytest.mark.django_db


def load_context(run: Run) -> JobContext:
    job = JobSpec.objects.select_related("job").get(job__run=run)
    claimed = ClaimedJob(
        id=job.job_id, endpoint_id=run.endpoint_id, campaign_id=run.campaign_id, run_id=run.pk, cell_id=job.cell_id,
        batch_key="", spec=job.spec, round=1, candidate=1, fingerprint=job.fingerprint, brand_id=run.campaign.brand_id,
    )  # fmt: skip
    return load_contexts([claimed], engine="ready")[job.job_id]


def test_each_file_has_the_label_of_its_output_spec(media: Any) -> None:
    campaign = queued_runs.create_campaign()
    OutputSpec.objects.create(
        campaign=campaign, slug="labelled", width=256, height=256, image_format="png", label_text="AI-generated",
        label_corner="top-left", label_percent=8,
    )  # fmt: skip
    OutputSpec.objects.create(campaign=campaign, slug="plain", width=256, height=256, image_format="png")
    context = load_context(queued_runs.create_run(campaign, queued_runs.create_endpoint(), 1))
    pixels = noise_pixels(1, 256, 256)
    stored = develop_result(context, Result(task_id=1, pixels=pixels))
    slugs = {spec.pk: spec.slug for spec in campaign.output_specs.all()}
    images = {}
    for rendition in stored.renditions:
        with Image.open(io.BytesIO(stored_files.read(rendition.storage_key))) as image:
            images[slugs[rendition.output_spec_id]] = np.asarray(image)
    assert np.array_equal(images["plain"], pixels)
    assert np.array_equal(images["labelled"], draw_label(pixels, Label("AI-generated", "top-left", 8)))
