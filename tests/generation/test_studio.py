"""Test the studio: free text on an endpoint, the same on another endpoint, and text that becomes a prompt."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from campaigns.choices import PhotoStatus
from campaigns.models import PromptVersion, ReferencePhoto, Studio
from campaigns.selectors import prompts as prompt_selectors
from campaigns.selectors import subjects as subject_selectors
from campaigns.services import prompts as prompt_services
from core.choices import Lane
from core.errors import Invalid, NotAllowed, NotFound
from core.models import Brand, Event, User
from generation.choices import JobState, RunState, Stage
from generation.engines import base as engines
from generation.models import Asset, Endpoint, Job, JobSpec, Run
from generation.selectors import gates
from generation.services import studio
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from generation.services.studio import TryOutRequest
from tests.support import factories
from tests.support.engines import ReadyEngine

pytestmark = pytest.mark.django_db


class Painter(ReadyEngine):
    """An engine with a prompt, a negative prompt, steps and a start image, as the studio uses."""

    name = "painter"

    def capabilities(self) -> engines.Capabilities:
        return engines.Capabilities(
            is_remote=False,
            obeys=frozenset({"prompt", "negative", "seed", "steps"}),
            controls=(engines.Control("steps", "Steps", "number", 20, 1, 50, 1),),
            optional_images=frozenset({"init"}),
            max_width=1024,
            max_height=768,
            size_multiple=8,
        )


engines.ENGINES.register("painter", engines.EnginePlugin("painter", Painter))


@pytest.fixture
def painter() -> Endpoint:
    return factories.EndpointFactory(engine="painter", name="Painter", slug="painter", lane=Lane.CPU)


@pytest.fixture
def packshot() -> Endpoint:
    return factories.EndpointFactory(name="Packshot studio", slug="packshot", lane=Lane.CPU)


def wish(**changes: Any) -> TryOutRequest:
    return TryOutRequest(**{"text": "a cobalt mug on marble", "width": 512, "height": 640, **changes})


def jpeg(width: int = 900, height: int = 900) -> bytes:
    """Return a JPEG of a dark jar on white, which can be cut out."""
    image = Image.new("RGB", (width, height), "white")
    image.paste((60, 80, 120), (width // 4, height // 5, 3 * width // 4, 4 * height // 5))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def specs(run: Run) -> list[dict[str, Any]]:
    return list(JobSpec.objects.filter(job__run=run).order_by("pk").values_list("spec", flat=True))


# -- a try ---------------------------------------------------------------------------------------------------------


def test_free_words_become_sandbox_images_of_the_asked_size_and_seeds(
    brand: Brand, designer: User, painter: Endpoint
) -> None:
    run = studio.start(brand=brand, wish=wish(negative="text", seed=7, count=3), endpoint=painter, by=designer)
    assert (run.stage, run.state, run.job_count) == (Stage.SANDBOX, RunState.RUNNING, 3)
    made = specs(run)
    assert [spec["seed"] for spec in made] == [7, 8, 9]
    assert {(spec["width"], spec["height"], spec["prompt"], spec["negative"]) for spec in made} == {
        (512, 640, "a cobalt mug on marble", "text")
    }
    assert set(Job.objects.filter(run=run).values_list("status", flat=True)) == {JobState.QUEUED}
    assert set(Asset.objects.filter(cell__run=run).values_list("is_sandbox", flat=True)) == {True}


def test_a_size_that_the_engine_cannot_make_is_fitted_to_its_limits_and_multiple(
    brand: Brand, designer: User, painter: Endpoint
) -> None:
    run = studio.start(brand=brand, wish=wish(width=1080, height=1350), endpoint=painter, by=designer)
    (made,) = specs(run)
    assert (made["width"], made["height"]) == (616, 768)


def test_without_a_seed_each_try_gets_a_new_one_and_says_which(brand: Brand, designer: User, painter: Endpoint) -> None:
    runs = [studio.start(brand=brand, wish=wish(), endpoint=painter, by=designer) for _ in range(2)]
    seeds = [specs(run)[0]["seed"] for run in runs]
    assert seeds[0] != seeds[1]
    assert [studio.request_of_run(studio.get(run.pk, designer)).seed for run in runs] == seeds


def test_equal_words_are_one_version_and_other_words_the_next(brand: Brand, designer: User, painter: Endpoint) -> None:
    style = factories.StylePresetFactory(brand=brand)
    tries = [
        studio.start(brand=brand, wish=request, endpoint=painter, by=designer).prompt_version
        for request in (wish(), wish(width=256), wish(style=style), wish(parameters={"steps": 4}), wish(style=style))
    ]
    assert [version.number for version in tries] == [1, 1, 2, 3, 2]


def test_a_style_that_changed_since_is_other_words(brand: Brand, designer: User, painter: Endpoint) -> None:
    style = factories.StylePresetFactory(brand=brand, text="soft light")
    first = studio.start(brand=brand, wish=wish(style=style), endpoint=painter, by=designer)
    style.text = "hard light"
    style.save()
    second = studio.start(brand=brand, wish=wish(style=style), endpoint=painter, by=designer)
    assert first.prompt_version != second.prompt_version
    assert "hard light" in specs(second)[0]["prompt"]


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"text": " "}, "text", "what the image shows"),
        ({"width": 8}, "width", "16 to 8192"),
        ({"count": 9}, "count", "1 to 8"),
        ({"seed": -1}, "seed", "whole number"),
    ],
)
def test_a_request_that_cannot_be_made_names_the_field_and_leaves_nothing(
    brand: Brand, designer: User, painter: Endpoint, given: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        studio.start(brand=brand, wish=wish(**given), endpoint=painter, by=designer)
    assert refused.value.problems[0].pointer == field
    assert not Run.objects.exists() and not PromptVersion.objects.exists() and not Studio.objects.exists()


def test_words_with_a_placeholder_that_nothing_fills_are_refused_in_words(
    brand: Brand, designer: User, painter: Endpoint
) -> None:
    with pytest.raises(Invalid, match=r"^No value for glaze\. Words in braces"):
        studio.start(brand=brand, wish=wish(text="a mug in {glaze}"), endpoint=painter, by=designer)


def test_words_may_name_what_the_chosen_product_says(brand: Brand, designer: User, painter: Endpoint) -> None:
    product = factories.SubjectFactory(brand=brand, name="Harbour mug", attributes={"colour": "teal"})
    photo = factories.ReferencePhotoFactory(subject=product)
    request = wish(text="{name} in {colour}", subject=product)
    run = studio.start(brand=brand, wish=request, endpoint=painter, by=designer)
    (made,) = specs(run)
    assert made["prompt"] == "Harbour mug in teal"
    assert made["images"]["init"]["sha256"] == photo.sha256


@pytest.mark.parametrize("role", ["viewer", "reviewer", "integrator"])
def test_people_who_may_not_run_the_sandbox_may_not_try(
    brand: Brand, person: Any, painter: Endpoint, role: str
) -> None:
    with pytest.raises(NotAllowed):
        studio.start(brand=brand, wish=wish(), endpoint=painter, by=person(role))
    with pytest.raises(NotAllowed):
        studio.add_image(brand=brand, data=jpeg(), file_name="a.jpg", by=person(role))


# -- reference images --------------------------------------------------------------------------------------------


def test_a_dropped_image_is_what_the_engine_starts_from(brand: Brand, designer: User, painter: Endpoint) -> None:
    photos = [
        studio.add_image(brand=brand, data=jpeg(width), file_name="image.png", by=designer) for width in (900, 880)
    ]
    run = studio.start(brand=brand, wish=wish(photo=photos[0]), endpoint=painter, by=designer)
    assert run.prompt_version.needs == {"engine": "painter", "images": ["init"]}
    assert specs(run)[0]["images"] == {"init": {"sha256": photos[0].sha256, "key": photos[0].storage_key}}


def test_the_same_file_dropped_twice_is_one_image(brand: Brand, designer: User) -> None:
    first, second = (studio.add_image(brand=brand, data=jpeg(), file_name="a.jpg", by=designer) for _ in range(2))
    assert first.pk == second.pk
    assert ReferencePhoto.objects.count() == 1


def test_an_engine_that_needs_a_photo_says_so_and_takes_a_dropped_ones_cutout(
    brand: Brand, designer: User, packshot: Endpoint
) -> None:
    with pytest.raises(Invalid, match="works from a photo"):
        studio.start(brand=brand, wish=wish(text=""), endpoint=packshot, by=designer)
    photo = studio.add_image(brand=brand, data=jpeg(), file_name="jar.jpg", by=designer)
    request = wish(text="", photo=photo, count=4, parameters={"backdrop": "clay"})
    run = studio.start(brand=brand, wish=request, endpoint=packshot, by=designer)
    (made,) = specs(run)  # it ignores the seed: four images would be equal
    assert made["images"]["cutout"]["sha256"] == photo.cutouts.get().sha256
    assert made["parameters"]["backdrop"] == "clay"


def test_an_image_of_another_brands_studio_is_not_there(
    brand: Brand, other_brand: Brand, designer: User, person: Any, painter: Endpoint
) -> None:
    photo = studio.add_image(
        brand=other_brand, data=jpeg(), file_name="a.jpg", by=person("designer", brand=other_brand)
    )
    with pytest.raises(Invalid, match="not there any more"):
        studio.start(brand=brand, wish=wish(photo=photo), endpoint=painter, by=designer)


def test_a_removed_image_cannot_be_used(brand: Brand, designer: User, painter: Endpoint) -> None:
    photo = studio.add_image(brand=brand, data=jpeg(), file_name="a.jpg", by=designer)
    photo.status = PhotoStatus.REMOVED
    photo.save()
    with pytest.raises(Invalid, match="drop it again"):
        studio.start(brand=brand, wish=wish(photo=photo), endpoint=painter, by=designer)


# -- on another endpoint -------------------------------------------------------------------------------------------


def test_another_endpoint_makes_the_same_words_seeds_and_size_with_what_it_obeys(
    brand: Brand, designer: User, painter: Endpoint
) -> None:
    ready = factories.EndpointFactory(engine="ready", name="Ready", slug="ready", lane=Lane.CPU)
    photo = studio.add_image(brand=brand, data=jpeg(), file_name="a.jpg", by=designer)
    request = wish(negative="text", seed=5, count=2, parameters={"steps": 4}, photo=photo)
    first = studio.start(brand=brand, wish=request, endpoint=painter, by=designer)
    second = studio.repeat_on_endpoint(run_id=first.pk, endpoint=ready, by=designer)
    assert second.endpoint == ready
    assert [(spec["seed"], spec["width"], spec["height"]) for spec in specs(second)] == [(5, 512, 640), (6, 512, 640)]
    made = specs(second)[0]
    assert (made["parameters"], made["negative"], made["images"]) == ({}, "", {})


def test_a_try_of_another_brand_cannot_be_made_again(
    brand: Brand, other_brand: Brand, designer: User, person: Any, painter: Endpoint
) -> None:
    run = studio.start(brand=brand, wish=wish(), endpoint=painter, by=designer)
    stranger = person("designer", brand=other_brand)
    with pytest.raises(NotFound):
        studio.repeat_on_endpoint(run_id=run.pk, endpoint=painter, by=stranger)
    with pytest.raises(NotFound):
        studio.save_prompt(run_id=run.pk, by=stranger, name="Mine")


# -- text that becomes a prompt ------------------------------------------------------------------------------------


def test_a_try_becomes_the_first_version_of_a_new_prompt_with_its_seed(
    brand: Brand, designer: User, painter: Endpoint
) -> None:
    style = factories.StylePresetFactory(brand=brand)
    request = wish(negative="text", style=style, parameters={"steps": 4}, seed=11, count=2)
    run = studio.start(brand=brand, wish=request, endpoint=painter, by=designer)
    made = studio.save_prompt(run_id=run.pk, by=designer, name="Marble mugs", seed=12)
    assert (made.template.name, made.template.slug, made.number) == ("Marble mugs", "marble-mugs", 1)
    assert (made.text, made.negative, made.style, made.parameters) == (
        "a cobalt mug on marble", "text", style, {"steps": 4},
    )  # fmt: skip
    assert (made.seed_strategy, made.seed, made.needs) == ("fixed", 12, {"engine": "painter"})


def test_a_try_becomes_the_next_version_of_a_prompt_that_is_there(
    brand: Brand, designer: User, painter: Endpoint
) -> None:
    template = factories.PromptTemplateFactory(brand=brand)
    prompt_services.add_version(template_id=template.pk, by=designer, text="a mug")
    run = studio.start(brand=brand, wish=wish(), endpoint=painter, by=designer)
    assert studio.save_prompt(run_id=run.pk, by=designer, template=template).number == 2


def test_two_new_prompts_of_one_name_do_not_collide(brand: Brand, designer: User, painter: Endpoint) -> None:
    run = studio.start(brand=brand, wish=wish(), endpoint=painter, by=designer)
    made = [studio.save_prompt(run_id=run.pk, by=designer, name="Marble mugs") for _ in range(2)]
    assert [version.template.slug for version in made] == ["marble-mugs", "marble-mugs-2"]


def test_a_new_prompt_needs_a_name_and_cannot_be_the_studios_own(
    brand: Brand, other_brand: Brand, designer: User, painter: Endpoint
) -> None:
    run = studio.start(brand=brand, wish=wish(), endpoint=painter, by=designer)
    with pytest.raises(Invalid, match="name"):
        studio.save_prompt(run_id=run.pk, by=designer, name=" ")
    for template in (Studio.objects.get().template, factories.PromptTemplateFactory(brand=other_brand)):
        with pytest.raises(NotFound):
            studio.save_prompt(run_id=run.pk, by=designer, template=template)


# -- hidden from all lists -----------------------------------------------------------------------------------------


@pytest.fixture
def tried(brand: Brand, designer: User, painter: Endpoint) -> Run:
    return studio.start(brand=brand, wish=wish(), endpoint=painter, by=designer)


def test_the_subject_and_the_prompt_of_a_studio_are_in_no_list(
    brand: Brand, designer: User, tried: Run, page_client: Any, api_client: Any
) -> None:
    place = Studio.objects.get()
    assert place.template not in prompt_selectors.list_templates(designer, brand_id=brand.pk)
    for is_active in (True, False):
        assert place.subject not in subject_selectors.visible(designer, brand, is_active=is_active)
    assert place.subject not in prompt_selectors.find_subjects(designer, brand.pk, "")
    results = page_client(designer).get(f"/brands/{brand.slug}/palette/?q=free").json()["results"]
    assert results == []
    api = api_client(designer)
    for address in ("subjects", "prompt-templates", "prompt-versions"):
        answer = api.get(f"/api/v1/{address}/")
        assert answer.status_code == 200 and answer.json()["results"] == []


def test_a_campaign_never_takes_the_studios_words_for_its_own_prompt(brand: Brand, designer: User, tried: Run) -> None:
    assert gates.latest_version(designer, factories.CampaignFactory(brand=brand)) is None


def test_the_sandbox_makes_nothing_but_tries(brand: Brand, manager: User, tried: Run, painter: Endpoint) -> None:
    with pytest.raises(Invalid) as refused:
        plans.plan(
            PlanArguments(
                campaign=tried.campaign,
                prompt_version=tried.prompt_version,
                endpoint=painter,
                stage=Stage.FULL,
                shape="list",
                rows=tried.definition["rows"],
                by=manager,
            )
        )
    assert "only try-outs" in refused.value.problems[0].message


def test_a_campaign_can_neither_use_the_studios_subject_nor_a_size_of_its_own(
    brand: Brand, manager: User, tried: Run, painter: Endpoint
) -> None:
    campaign = factories.CampaignFactory(brand=brand)
    factories.OutputSpecFactory(campaign=campaign, width=512, height=512)
    product = factories.SubjectFactory(brand=brand, key="M-1")
    for row, words in (
        ({"subject": Studio.objects.get().subject_id}, "no active subject"),
        ({"subject": product.key, "size": "512x640"}, "No output of this campaign is 4:5"),
    ):
        with pytest.raises(Invalid, match=words):
            plans.plan(
                PlanArguments(
                    campaign=campaign,
                    prompt_version=tried.prompt_version,
                    endpoint=painter,
                    stage=Stage.SANDBOX,
                    shape="list",
                    rows=[row],
                    by=manager,
                )
            )


def test_opening_a_studio_is_recorded_once(brand: Brand, designer: User, painter: Endpoint) -> None:
    for text in ("one", "two"):
        studio.start(brand=brand, wish=wish(text=text), endpoint=painter, by=designer)
    assert Event.objects.filter(type="campaigns.studio.opened").count() == 1
    assert Studio.objects.get().template.versions.count() == 2
