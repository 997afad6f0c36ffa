"""Tests of the marks of origin in what leaves Proofline: deliveries, pulled files, and what a destination serves."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone
from PIL import Image
from rest_framework.test import APIClient

from campaigns.models import OutputSpec
from core import stored_files
from core.choices import Role
from core.errors import StorageFailed
from generation.models import Endpoint, MarkedFile, Rendition
from generation.provenance import marks
from generation.provenance.marks import Marks
from generation.services.images import sweeper
from review.delivery.base import DeliveryError
from review.models import Delivery, Destination, ReviewTask
from review.services import consequences, decisions, deliveries, destinations, marked_files, signing, verification
from review.services.marked_files import Marker, MarkOptions
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return create_image_in_review(brand)


@pytest.fixture
def folder(brand: Any, lead: Any, settings: Any, tmp_path: Path) -> Destination:
    settings.PROOFLINE = settings.PROOFLINE | {"handover_folders": [str(tmp_path)]}
    path = tmp_path / brand.slug
    return destinations.create(brand=brand, by=lead, slug="out", name="Out", kind="folder", config={"path": str(path)})


def approve(task: ReviewTask, reviewer: Any) -> Rendition:
    decisions.approve(**decision_arguments(task), by=reviewer)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    return Rendition.objects.get(version__asset=task.asset)


def deliver(task: ReviewTask, reviewer: Any, folder: Destination) -> Marks:
    """Approve and deliver; return the marks of the file in the folder."""
    approve(task, reviewer)
    deliveries.attempt_due()
    assert Delivery.objects.get().error == ""
    [path] = Path(folder.config["path"]).rglob("*.jpg")
    return marks.read(path.read_bytes(), anchors=signing.get_identity().anchors)


def test_a_delivered_file_says_what_it_is(task: ReviewTask, reviewer: Any, folder: Destination) -> None:
    found = deliver(task, reviewer, folder)
    assert found.credentials.state == "trusted"
    assert found.fields.source_type in {"trainedAlgorithmicMedia", "compositeSynthetic"}
    assert found.document_id == MarkedFile.objects.get().document_id
    assert found.has_profile
    assert (found.fields.prompt, found.fields.prompt_writer) == ("", "")


def test_prompt_and_writer_are_named_where_a_destination_asks_for_it(
    task: ReviewTask, reviewer: Any, lead: Any, folder: Destination
) -> None:
    destinations.change(destination_id=folder.pk, by=lead, tells_prompt=True, tells_prompt_writer=True)
    found = deliver(task, reviewer, folder)
    assert found.fields.prompt == "A mug on clay"
    assert found.fields.prompt_writer == task.asset.cell.run.prompt_version.created_by.display_name


def test_the_disclaimer_is_in_both_marks(task: ReviewTask, reviewer: Any, lead: Any, folder: Destination) -> None:
    Endpoint.objects.update(disclaimer="demo model")
    destinations.change(destination_id=folder.pk, by=lead, rules=[])
    found = deliver(task, reviewer, folder)
    assert found.fields.caution == found.credentials.lineage["caution"] == "demo model"


def test_a_visible_label_is_a_step_in_the_manifest(task: ReviewTask, reviewer: Any, folder: Destination) -> None:
    OutputSpec.objects.update(label_text="AI-generated")
    found = deliver(task, reviewer, folder)
    assert "c2pa.addedText" in found.credentials.actions
    assert found.credentials.state == "trusted"


def test_a_new_destination_gets_no_images_with_a_disclaimer(
    task: ReviewTask, reviewer: Any, folder: Destination
) -> None:
    Endpoint.objects.update(disclaimer="demo model")
    approve(task, reviewer)
    assert not Delivery.objects.exists()


def test_a_file_is_signed_once(task: ReviewTask, reviewer: Any, django_assert_num_queries: Any) -> None:
    rendition = approve(task, reviewer)
    first = Marker([rendition]).mark(rendition.version, rendition)
    assert Marker([rendition]).mark(rendition.version, rendition) == first
    assert Marker([]).mark(rendition.version, rendition) == first, "another worker was quicker"
    assert MarkedFile.objects.count() == 1
    other = Marker([rendition], MarkOptions(has_prompt=True)).mark(rendition.version, rendition)
    assert other.sha256 != first.sha256
    assert other.document_id == first.document_id


def test_the_sweeper_keeps_marked_files(task: ReviewTask, reviewer: Any) -> None:
    rendition = approve(task, reviewer)
    file = Marker([rendition]).mark(rendition.version, rendition)
    sweeper.sweep(now=timezone.now() + timedelta(days=1))
    assert stored_files.exists(file.storage_key)


def test_a_file_that_changed_after_its_approval_is_not_signed(task: ReviewTask, reviewer: Any, settings: Any) -> None:
    rendition = approve(task, reviewer)
    path = Path(settings.MEDIA_ROOT, rendition.storage_key)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StorageFailed, match="not the one that was approved"):
        Marker([rendition]).mark(rendition.version, rendition)
    assert not MarkedFile.objects.exists()


@pytest.mark.parametrize(
    "values", [{"certificate": "/nowhere"}, {"certificate": "-----BEGIN x", "key": "k", "signer": "s"}]
)
def test_without_a_signer_nothing_is_delivered(
    values: dict[str, str], task: ReviewTask, reviewer: Any, settings: Any
) -> None:
    rendition = approve(task, reviewer)
    with (
        override_settings(PROVENANCE=settings.PROVENANCE | values),
        pytest.raises(DeliveryError, match="cannot be signed"),
    ):
        Marker([rendition])


def test_a_certificate_of_the_settings_signs(task: ReviewTask, reviewer: Any, settings: Any, tmp_path: Path) -> None:
    own = signing.get_identity()
    (tmp_path / "chain.pem").write_text(own.certificates)
    values = {"certificate": str(tmp_path / "chain.pem"), "key": own.key.replace("\n", "\\n"), "anchors": own.anchors}
    settings.PROVENANCE = settings.PROVENANCE | values
    rendition = approve(task, reviewer)
    file = marked_files.get_marked_file(rendition)
    found = marks.read(stored_files.read(file.storage_key), anchors=signing.get_identity().anchors)
    assert found.credentials.state == "trusted"


def test_a_pulled_file_has_its_marks(task: ReviewTask, reviewer: Any, person: Any) -> None:
    rendition = approve(task, reviewer)
    client = APIClient()
    client.force_authenticate(person(Role.INTEGRATOR))
    redirect = client.get(f"/api/v1/files/{rendition.pk}/")
    assert redirect.status_code == 302
    answer = client.get(redirect["Location"])
    data = b"".join(answer.streaming_content) if answer.streaming else answer.content
    assert marks.read(data).credentials.state == "valid"
    assert redirect["ETag"] == f'"{MarkedFile.objects.get().sha256}"'


class Serving:
    """A destination that serves these bytes for every file."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_delivered(self, file: Any) -> bytes:
        return self.data


def test_marks_that_a_destination_removes_are_reported(task: ReviewTask, reviewer: Any, brand: Any) -> None:
    from generation.provenance import containers, xmp
    from review.delivery.base import DeliveryFile
    from tests.support.engines import noise_pixels

    plain = io.BytesIO()
    Image.fromarray(noise_pixels(1, 400, 300)).save(plain, "JPEG", quality=90)
    labelled = containers.insert(plain.getvalue(), "jpeg", xmp.write(xmp.Fields(source_type="trainedAlgorithmicMedia")))
    sent = DeliveryFile("web", "a.jpg", "image/jpeg", "0" * 64, 400, 300, 1, read=lambda: labelled)
    entry = {"name": "a.jpg", "sha256": "0" * 64}
    for served, outcome in ((plain.getvalue(), "lost"), (labelled, "label")):
        [report] = verification.compare_delivered(Serving(served), [sent], [entry])  # type: ignore[arg-type]
        assert (report["outcome"], report["marks"]) == ("alike", outcome)


def test_the_page_of_an_image_says_what_its_files_say(task: ReviewTask, reviewer: Any, manager: Any) -> None:
    rendition = approve(task, reviewer)
    client = Client()
    client.force_login(manager)
    page = f"/brands/{task.brand.slug}/assets/{task.asset_id}/"
    assert "Each file is marked and signed when the approval takes effect" in client.get(page).content.decode()
    answer = client.get(f"/brands/{task.brand.slug}/files/{rendition.pk}/")
    assert marks.read(b"".join(answer.streaming_content)).credentials.state == "valid"  # type: ignore[attr-defined]
    assert answer["Content-Disposition"] == f'attachment; filename="{task.asset.subject.key}-{spec_of(rendition)}.jpg"'
    assert "1 file was marked and signed" in client.get(page).content.decode()


def spec_of(rendition: Rendition) -> str:
    return rendition.output_spec.slug


def test_nobody_downloads_files_of_another_brand(task: ReviewTask, reviewer: Any, manager: Any) -> None:
    rendition = approve(task, reviewer)
    other = factories.MembershipFactory(brand=factories.BrandFactory(), role=Role.LEAD)
    client = Client()
    client.force_login(other.user)
    assert client.get(f"/brands/{other.brand.slug}/files/{rendition.pk}/").status_code == 404
    assert client.get(f"/brands/{task.brand.slug}/files/{rendition.pk}/").status_code == 404
    assert not MarkedFile.objects.exists()
