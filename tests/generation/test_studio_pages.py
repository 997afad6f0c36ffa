"""Test the studio page: form, examples, result with progress, refusals, another endpoint and history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns.models import Campaign, PromptVersion, ReferencePhoto
from core.choices import Lane
from core.models import Brand, User
from generation.choices import JobState, RunState
from generation.engines import base as engines
from generation.models import Asset, AssetVersion, Attempt, Endpoint, Job, JobSpec, Run, Worker
from generation.services import studio
from tests.generation.test_studio import Painter, jpeg, wish
from tests.support import factories

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def painter() -> Endpoint:
    engines.ENGINES.register("painter", engines.EnginePlugin("painter", Painter))
    return factories.EndpointFactory(engine="painter", name="Painter", slug="painter", lane=Lane.CPU)


def form_fields(endpoint: Endpoint, **changes: Any) -> dict[str, Any]:
    """Return the form fields as a browser sends them."""
    return {
        "text": "a cobalt mug on marble", "negative": "", "style": "", "endpoint": endpoint.pk, "width": 512,
        "height": 640, "count": 1, "seed": "", "photo": "", "product": "", **changes,
    }  # fmt: skip


def markup(answer: Any) -> str:
    """Return the answer with one space between the attributes of an element, however its template breaks the lines."""
    return " ".join(answer.content.decode().split())


@pytest.fixture
def address(brand: Brand) -> str:
    return f"/brands/{brand.slug}/studio/"


@pytest.fixture
def client(page_client: Any, designer: User) -> Any:
    return page_client(designer)


@pytest.fixture
def run(brand: Brand, designer: User, painter: Endpoint) -> Run:
    return studio.start(brand=brand, wish=wish(seed=7, count=2), endpoint=painter, by=designer)


def record_live_worker(lane: str = Lane.CPU) -> None:
    now = timezone.now()
    Worker.objects.create(name="w", lanes=[lane], host="h", pid=1, started_at=now, seen_at=now)


def claim_job(job: Job, *, step: int, steps: int, seconds_ago: float) -> None:
    """Mark the job as claimed by a worker."""
    began = timezone.now() - timedelta(seconds=seconds_ago)
    token = "0" * 32
    Job.objects.filter(pk=job.pk).update(status=JobState.RUNNING, lease_token=token, step=step, steps=steps)
    Attempt.objects.create(job=job, number=1, lease_token=token, endpoint=job.endpoint, worker="w", started_at=began)


def finish_job(job: Job) -> AssetVersion:
    """Finish the job as a worker does, and return the asset version."""
    asset = Asset.objects.get(cell=job.cell)
    version: AssetVersion = factories.AssetVersionFactory(asset=asset, job=job, candidate=1)
    Job.objects.filter(pk=job.pk).update(status=JobState.SUCCEEDED)
    Asset.objects.filter(pk=asset.pk).update(state="in_review", current_version=version)
    return version


def fail_job(job: Job, message: str, kind: str = "moderation") -> None:
    Job.objects.filter(pk=job.pk).update(status=JobState.FAILED, error=message, error_kind=kind)


def finish_run(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(state=RunState.FINISHED, finished_at=timezone.now())


# -- the form ------------------------------------------------------------------------------------------------------


def test_generate_begins_a_try_and_shows_it_in_the_page(client: Any, address: str, painter: Endpoint) -> None:
    answer = client.post(f"{address}make/", form_fields(painter, count=2), headers=HTMX)
    run = Run.objects.get()
    assert answer.status_code == 200
    assert answer["HX-Replace-Url"] == f"{address}?try={run.pk}"
    assert answer["HX-Trigger"] == "studio-changed"
    assert answer.content.count(b"<figure>") == 2
    assert b'hx-trigger="every 1s"' in answer.content


def test_without_javascript_the_page_opens_on_the_new_try(client: Any, address: str, painter: Endpoint) -> None:
    answer = client.post(f"{address}make/", form_fields(painter), follow=True)
    assert answer.redirect_chain == [(f"{address}?try={Run.objects.get().pk}", 302)]
    assert answer.context["form"]["text"].value() == "a cobalt mug on marble"


def test_an_engine_that_ignores_seeds_makes_one_image_and_has_no_seed_field(
    brand: Brand, client: Any, address: str
) -> None:
    packshot = factories.EndpointFactory(name="Packshot studio")
    product = factories.SubjectFactory(brand=brand)
    factories.CutoutFactory(photo__subject=product)
    form = form_fields(packshot, text="", product=product.pk)
    part = client.post(f"{address}engine/", form).content.decode()
    assert 'name="count"' not in part
    del form["count"]
    assert client.post(f"{address}make/", form, headers=HTMX).status_code == 200
    assert JobSpec.objects.get().spec["images"].keys() == {"cutout"}


def test_one_image_is_made_where_the_form_of_another_endpoint_was_sent(
    client: Any, address: str, painter: Endpoint
) -> None:
    form = form_fields(painter)
    del form["count"]
    assert client.post(f"{address}make/", form).status_code == 302
    assert JobSpec.objects.count() == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"text": ""}, "Say what the image shows."),
        ({"width": "wide"}, "Give the width in pixels."),
        ({"control_steps": "500"}, "Give a number from 1 to 50"),
        ({"is_locked": "on"}, "There is no seed to keep yet"),
        ({"text": "a mug in {glaze}"}, "No value for glaze."),
    ],
)
def test_what_prevents_an_image_is_shown_where_the_result_would_be(
    client: Any, address: str, painter: Endpoint, given: dict[str, Any], words: str
) -> None:
    for headers in (HTMX, {}):
        answer = client.post(f"{address}make/", form_fields(painter, **given), headers=headers)
        assert answer.status_code == 422
        assert words in answer.content.decode()
        assert 'role="alert"' in answer.content.decode()
    assert answer.context["form"]["text"].value() == given.get("text", "a cobalt mug on marble")


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"text": ""}, "text", "Say what the image shows."),
        ({"height": "high"}, "height", "Give the height in pixels."),
        ({"width": "9000"}, "width", "Give a width of"),
        ({"count": "9"}, "count", "Make 1 to 8 images at once."),
        ({"seed": "7.5", "is_locked": "on"}, "seed", "A seed is a whole number."),
        ({"control_steps": "many"}, "control_steps", "Give a number from 1 to 50."),
        ({"photo": "999999"}, "photo", "This reference image is not there any more"),
        ({"style": "999999"}, "style", "Select a valid choice."),
        ({"endpoint": "999999"}, "endpoint", "Select a valid choice."),
    ],
)
def test_each_mistake_is_shown_at_its_field_with_what_was_typed(
    client: Any, address: str, painter: Endpoint, given: dict[str, Any], field: str, words: str
) -> None:
    answer = client.post(f"{address}make/", form_fields(painter) | given)
    form = answer.context["form"]
    assert answer.status_code == 422 and not Run.objects.exists()
    assert list(form.errors) == [field] and words in form.errors[field][0]
    page = answer.content.decode()
    assert f'data-field="{field}"' in page and f'<span class="error">{form.errors[field][0]}' in page
    assert form[field].value() == given[field]


def test_a_seed_counts_only_while_it_is_kept(client: Any, address: str, painter: Endpoint) -> None:
    for extra in ({"is_locked": "on"}, {}):
        client.post(f"{address}make/", form_fields(painter, seed="1234567890", **extra), headers=HTMX)
    kept, new = JobSpec.objects.order_by("pk").values_list("spec__seed", flat=True)
    assert kept == 1234567890 and new != kept


def test_a_field_that_the_endpoint_does_not_obey_is_not_offered(client: Any, address: str, painter: Endpoint) -> None:
    ready = factories.EndpointFactory(engine="ready", name="Ready", disclaimer="demo model")
    with_all = client.post(f"{address}engine/", form_fields(painter)).content.decode()
    assert 'name="negative"' in with_all and 'name="control_steps"' in with_all and "data-image" in with_all
    plain = client.post(f"{address}engine/", form_fields(ready)).content.decode()
    assert 'name="negative"' not in plain and "control_" not in plain and "data-image" not in plain
    assert "demo model" in plain


def test_an_endpoint_begins_with_what_its_latest_image_was_made_with(
    brand: Brand, client: Any, address: str, painter: Endpoint
) -> None:
    frozen = factories.JobSpecFactory(
        job__run__campaign__brand=brand, job__endpoint=painter, spec={"prompt": "a jar", "parameters": {"steps": 9}}
    )
    factories.AssetVersionFactory(asset__cell=frozen.cell, job=frozen.job)
    Attempt.objects.create(
        job=frozen.job, number=1, lease_token="0" * 32, endpoint=painter, worker="w", outcome="succeeded",
        started_at=timezone.now(), ended_at=timezone.now(),
    )  # fmt: skip
    assert client.get(address).context["form"]["control_steps"].value() == "9"
    form = form_fields(painter, settings_of=painter.pk, control_steps="")
    assert client.post(f"{address}engine/", form).context["form"]["control_steps"].value() == ""


def test_another_endpoint_brings_its_own_size_unless_one_was_chosen(
    client: Any, address: str, painter: Endpoint
) -> None:
    ready = factories.EndpointFactory(engine="ready", name="Ready")
    own = form_fields(ready, settings_of=painter.pk, width=768, height=768)  # what the painter makes by itself
    assert client.post(f"{address}engine/", own).context["form"].size == (1024, 1024)
    chosen = form_fields(ready, settings_of=painter.pk, width=512, height=640)
    assert client.post(f"{address}engine/", chosen).context["form"].size == (512, 640)


def test_another_endpoint_is_offered_only_where_it_would_help(client: Any, address: str, painter: Endpoint) -> None:
    packshot = factories.EndpointFactory(name="Packshot studio")
    words = client.post(f"{address}make/", form_fields(painter, text="a mug in {glaze}"), headers=HTMX).content.decode()
    assert "data-endpoint" not in words
    words = client.post(f"{address}make/", form_fields(packshot), headers=HTMX).content.decode()
    assert "works from a photo" in words and f'data-endpoint="{painter.pk}"' in words


def test_channel_presets_are_the_nearest_that_the_endpoint_makes(client: Any, address: str, painter: Endpoint) -> None:
    page = client.get(address)
    assert 'data-width="616" data-height="768"' in markup(page)  # Instagram's 1080 × 1350 within 1024 × 768
    assert all(size["made"][0] <= 1024 and size["made"][1] <= 768 for size in page.context["sizes"])


def test_an_endpoint_that_cannot_be_opened_is_named_and_not_offered(client: Any, address: str) -> None:
    factories.EndpointFactory(engine="no-such-engine", name="Broken")
    page = client.get(address)
    assert page.context["form"].offers == []
    assert "Broken cannot be used" in page.content.decode()
    answer = client.post(f"{address}make/", {"text": "a mug"}, headers=HTMX)
    assert "no endpoint to try on" in answer.content.decode()


def test_an_example_fills_the_form_with_the_settings_of_an_image(
    brand: Brand, client: Any, address: str, painter: Endpoint
) -> None:
    spec = {
        "prompt": "a jar {raw}", "negative": "text", "width": 256, "height": 320, "seed": 3,
        "parameters": {"steps": 9}, "images": {}, "candidate": 1,
    }  # fmt: skip
    frozen = factories.JobSpecFactory(job__run__campaign__brand=brand, job__endpoint=painter, spec=spec)
    version = factories.AssetVersionFactory(asset__cell=frozen.cell, job=frozen.job)
    Attempt.objects.create(
        job=frozen.job, number=1, lease_token="0" * 32, endpoint=painter, worker="w", outcome="succeeded",
        started_at=timezone.now(), ended_at=timezone.now(),
    )  # fmt: skip
    page = client.get(address)
    assert [example["version_id"] for example in page.context["examples"]] == [version.pk]
    form = client.get(f"{address}?example={version.pk}").context["form"]
    names = ("text", "negative", "width", "control_steps")
    assert [form[name].value() for name in names] == ["a jar {{raw}}", "text", 256, "9"]
    given = form_fields(painter, text=form["text"].value())
    assert client.post(f"{address}make/", given, headers=HTMX).status_code == 200
    assert JobSpec.objects.latest("pk").spec["prompt"] == "a jar {raw}"


def test_a_brand_that_made_nothing_yet_is_offered_plain_words(client: Any, address: str, painter: Endpoint) -> None:
    first = client.get(address).context["examples"][0]
    assert "version_id" not in first
    assert client.get(f"{address}?words={first['words']}").context["form"]["text"].value() == first["words"]


@pytest.mark.parametrize(
    ("priced", "used", "words"),
    [
        ({}, {}, "costs nothing"),
        ({"price_per_image": "10"}, {}, "10 EUR an image"),
        ({"prices": {"image": "0.0625"}}, {}, "0.0625 EUR an image"),
        ({"prices": {"second": "0.001217"}, "seconds_per_image": 9}, {}, "about 0.011 EUR an image"),
        ({"prices": {"million_output_tokens": 30}}, {"output_tokens": 1056}, "about 0.032 EUR an image"),
        ({"prices": {"million_output_tokens": 30}}, {}, "the first image tells how much"),
    ],
)
def test_an_image_is_priced_before_it_is_made_as_planning_would(
    brand: Brand, client: Any, address: str, painter: Endpoint, priced: Any, used: Any, words: str
) -> None:
    Endpoint.objects.filter(pk=painter.pk).update(**priced)
    if used:
        frozen = factories.JobSpecFactory(job__run__campaign__brand=brand, job__endpoint=painter)
        Attempt.objects.create(
            job=frozen.job, number=1, lease_token="0" * 32, endpoint=painter, worker="w", outcome="succeeded",
            details={"usage": used}, started_at=timezone.now(), ended_at=timezone.now(),
        )  # fmt: skip
    assert words in client.get(address).content.decode()


def test_the_money_that_tries_may_still_cost_stands_beside_the_price_and_follows_each_try(
    brand: Brand, client: Any, address: str, painter: Endpoint, designer: User
) -> None:
    Endpoint.objects.filter(pk=painter.pk).update(price_per_image="0.5")
    assert " left " not in client.get(address).content.decode()
    Brand.objects.filter(pk=brand.pk).update(monthly_budget=4)
    assert "4.00 EUR left this month" in client.get(address).content.decode()
    client.post(f"{address}make/", form_fields(painter, count=2), headers=HTMX)
    later = markup(client.get(f"{address}history/"))
    assert 'id="studio-left" hx-swap-oob="true"' in later and "3.00 EUR left this month" in later
    Campaign.objects.filter(brand=brand, is_sandbox=True).update(budget=1)
    assert "◆ nothing</span> left in the sandbox" in client.get(address).content.decode()


# -- reference images --------------------------------------------------------------------------------------------


def test_a_dropped_image_comes_back_in_the_form_and_goes_into_the_try(
    client: Any, address: str, painter: Endpoint
) -> None:
    file = SimpleUploadedFile("image.png", jpeg(), "image/png")
    photo = client.post(f"{address}pictures/", {"file": file}).json()["photo"]
    part = markup(client.post(f"{address}engine/", form_fields(painter, photo=photo)))
    assert f'name="photo" value="{photo}"' in part and f"/files/photo/{photo}/" in part
    client.post(f"{address}make/", form_fields(painter, photo=photo), headers=HTMX)
    assert JobSpec.objects.get().spec["images"]["init"]["sha256"] == ReferencePhoto.objects.get(pk=photo).sha256


def test_a_file_that_is_no_image_is_refused_in_words(client: Any, address: str) -> None:
    answer = client.post(
        f"{address}pictures/",
        {"file": SimpleUploadedFile("a.png", b"no image", "image/png")},
        headers={"Accept": "application/json"},
    )
    assert answer.status_code == 422
    assert "a.png" in answer.content.decode() or "image" in answer.content.decode()


def test_products_with_a_photo_are_offered_and_those_of_others_never(
    brand: Brand, other_brand: Brand, client: Any, address: str, painter: Endpoint
) -> None:
    own_product = factories.ReferencePhotoFactory(subject__brand=brand, subject__name="Harbour mug").subject
    foreign = factories.ReferencePhotoFactory(subject__brand=other_brand, subject__name="Harbour secret").subject
    factories.SubjectFactory(brand=brand, name="Harbour without a photo")
    answer = client.get(f"{address}products/?q=harbour")
    assert [product["subject"] for product in answer.context["found"]] == [own_product]
    part = client.post(f"{address}engine/", form_fields(painter, product=foreign.pk)).content.decode()
    assert "Harbour secret" not in part


# -- the result ----------------------------------------------------------------------------------------------------


def test_progress_shows_steps_rate_and_time_left(client: Any, address: str, run: Run) -> None:
    record_live_worker()
    first, _ = Job.objects.filter(run=run).order_by("pk")
    claim_job(first, step=10, steps=30, seconds_ago=5)
    answer = client.get(f"{address}{run.pk}/", headers=HTMX)
    words = answer.content.decode()
    assert "step <b>10</b> of <b>30</b>" in words
    now = answer.context["result"].running_image
    assert now.rate == pytest.approx(2, rel=0.2)
    # Twenty steps at two a second, and one more image at the endpoint's second.
    assert answer.context["result"].seconds_left == pytest.approx(11, rel=0.2)
    assert answer.context["result"].percent == 17
    assert "HX-Retarget" not in answer


def test_a_try_that_nobody_works_on_says_so(client: Any, address: str, run: Run) -> None:
    assert "No worker of the lane cpu is running" in client.get(f"{address}{run.pk}/").content.decode()
    record_live_worker()
    assert "waits for its turn" in client.get(f"{address}{run.pk}/").content.decode()


def test_at_the_end_the_whole_result_replaces_the_progress(client: Any, address: str, run: Run) -> None:
    versions = [finish_job(job) for job in Job.objects.filter(run=run).order_by("pk")]
    finish_run(run)
    answer = client.get(f"{address}{run.pk}/", headers=HTMX)
    assert answer["HX-Retarget"] == "#studio-result"
    assert answer["HX-Trigger"] == "studio-changed"
    words = answer.content.decode()
    assert all(f"/files/version/{version.pk}/" in words for version in versions)
    assert 'data-seed="8"' in words and "hx-trigger" not in words
    assert "Make this a prompt version" in words


def test_a_failed_try_says_why_and_offers_every_other_endpoint(client: Any, address: str, run: Run) -> None:
    other = factories.EndpointFactory(engine="ready", name="Ready")
    factories.EndpointFactory(engine="ready", name="Switched off", is_enabled=False)
    factories.EndpointFactory(name="Needs a photo")
    factories.EndpointFactory(name="Reads nothing", engine="comfyui", config={"servers": ["http://gpu:8188"]})
    for job in Job.objects.filter(run=run):
        fail_job(job, "Your request was refused by our safety system.")
    finish_run(run)
    words = client.get(f"{address}{run.pk}/").content.decode()
    assert "Painter said: Your request was refused by our safety system." in words
    assert f'name="endpoint" value="{other.pk}"' in words and "Switched off" not in words
    assert "Reads nothing</button>" not in words and "Needs a photo</button>" not in words
    assert words.count("/again/") == 2, "one form, with its address for htmx and without"
    answer = client.post(f"{address}{run.pk}/again/", {"endpoint": other.pk}, headers=HTMX)
    begun = Run.objects.latest("pk")
    assert (begun.endpoint, answer["HX-Replace-Url"]) == (other, f"{address}?try={begun.pk}")
    assert list(JobSpec.objects.filter(job__run=begun).order_by("pk").values_list("spec__seed", flat=True)) == [7, 8]


def test_cancel_ends_waiting_jobs_and_keeps_finished_images(client: Any, address: str, run: Run) -> None:
    version = finish_job(Job.objects.filter(run=run).order_by("pk")[0])
    claim_job(Job.objects.filter(run=run).order_by("pk")[1], step=0, steps=0, seconds_ago=1)
    words = client.post(f"{address}{run.pk}/cancel/", headers=HTMX).content.decode()
    run.refresh_from_db()
    assert run.state == RunState.CANCELLED
    assert f"/files/version/{version.pk}/" in words and "given up" in words
    assert "being made" not in words, "whatever its worker still does, nobody waits for it"


def test_a_kept_try_opens_in_the_editor_with_the_images_seed(client: Any, address: str, run: Run) -> None:
    answer = client.post(f"{address}{run.pk}/keep/", {"name": "Marble", "seed": "8"})
    version = PromptVersion.objects.latest("pk")
    assert answer["Location"].endswith("/prompts/marble/v1/")
    assert (version.seed_strategy, version.seed) == ("fixed", 8)


# -- history and people --------------------------------------------------------------------------------------------


def test_history_holds_my_tries_and_brings_their_settings_back(
    brand: Brand, client: Any, address: str, run: Run, person: Any, page_client: Any
) -> None:
    colleague = person("designer")
    assert b"?try=" in client.get(f"{address}history/").content
    assert b"?try=" not in page_client(colleague).get(f"{address}history/").content
    form = page_client(colleague).get(f"{address}?try={run.pk}").context["form"]
    names = ("text", "seed", "count", "width")
    assert [form[name].value() for name in names] == ["a cobalt mug on marble", 7, 2, 512]


def test_older_tries_are_asked_for_a_page_at_a_time(
    brand: Brand, client: Any, address: str, designer: User, painter: Endpoint
) -> None:
    runs = [studio.start(brand=brand, wish=wish(text=f"mug {n}"), endpoint=painter, by=designer).pk for n in range(14)]
    first = client.get(f"{address}history/").context
    assert [past_try.run.pk for past_try in first["earlier"]] == runs[:1:-1]
    rest = client.get(f"{address}history/?before={first['more_before']}").context
    assert [past_try.run.pk for past_try in rest["earlier"]] == runs[1::-1]


@pytest.mark.parametrize("role", ["viewer", "reviewer", "integrator"])
def test_the_studio_is_shown_only_to_people_who_may_run_the_sandbox(
    brand: Brand, address: str, run: Run, painter: Endpoint, person: Any, page_client: Any, role: str
) -> None:
    client = page_client(person(role))
    assert "/studio/" not in client.get(f"/brands/{brand.slug}/campaigns/").content.decode()
    for part in ("", "history/", "products/", f"{run.pk}/"):
        assert client.get(f"{address}{part}").status_code == 403
    for part in ("make/", "engine/", "pictures/", f"{run.pk}/cancel/", f"{run.pk}/again/", f"{run.pk}/keep/"):
        assert client.post(f"{address}{part}", form_fields(painter)).status_code == 403
    assert Run.objects.count() == 1


def test_a_try_of_another_brand_is_not_there(
    other_brand: Brand, run: Run, person: Any, page_client: Any, brand: Brand
) -> None:
    both = person("designer")
    factories.MembershipFactory(brand=other_brand, user=both, role="designer")
    for client in (page_client(person("designer", brand=other_brand)), page_client(both)):
        for part in (f"?try={run.pk}", f"{run.pk}/"):
            assert client.get(f"/brands/{other_brand.slug}/studio/{part}").status_code == 404


def test_more_tries_and_examples_cost_no_more_queries(
    brand: Brand, client: Any, address: str, designer: User, painter: Endpoint
) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        return len(queries)

    finish_job(Job.objects.get(run=studio.start(brand=brand, wish=wish(), endpoint=painter, by=designer)))
    client.get(address)
    before = count()
    for number in range(5):
        run = studio.start(brand=brand, wish=wish(text=f"mug {number}", count=3), endpoint=painter, by=designer)
        for job in Job.objects.filter(run=run):
            finish_job(job)
    assert count() == before
