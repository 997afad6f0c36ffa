"""Test the prompt editor, sandbox try-outs, versions side by side, and approval by a lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from campaigns.models import Campaign, PromptTemplate, PromptVersion
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import prompts as selectors
from campaigns.services import campaigns, prompts
from core.errors import Conflict, Invalid, NotAllowed
from core.models import Brand, Event, Notice, User
from generation.choices import AssetState, RunState, Stage
from generation.engines.base import Capabilities
from generation.forms import EngineChoice, PromptForm
from generation.models import Asset, Job, JobSpec, Run
from generation.selectors import tryouts as tryout_rows
from generation.services import studio
from review.choices import DecisionKind
from review.selectors.prompt_results import results
from tests.support import factories
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db


@pytest.fixture
def mugs(brand: Brand) -> list[Any]:
    """Return four products with accepted cut-outs."""
    made = [factories.SubjectFactory(brand=brand, key=f"M-{n}", name=f"Mug {n}") for n in range(1, 5)]
    for subject in made:
        factories.CutoutFactory(photo__subject=subject)
    return made


@pytest.fixture
def template(brand: Brand) -> PromptTemplate:
    factories.EndpointFactory(name="Packshot studio")
    return factories.PromptTemplateFactory(brand=brand, slug="studio")


FIELDS: dict[str, Any] = {
    "text": "{name} in {colour}", "negative": "", "style": None, "axes": {"backdrop": ["white", "sand"]},
    "parameters": {"backdrop": "{backdrop}"}, "needs": {"engine": "packshot"}, "policy": {},
}  # fmt: skip


@pytest.fixture
def version(template: PromptTemplate, designer: User) -> PromptVersion:
    return prompts.add_version(template_id=template.pk, by=designer, **FIELDS)


def form_fields(**changes: Any) -> dict[str, Any]:
    """Return the form fields as a browser sends them."""
    return {
        "text": "{name} in {colour}", "axes": "backdrop: white, sand", "engine": "packshot", "candidates": 1,
        "control_backdrop": "{backdrop}", "seed_strategy": "per_subject", "seed": 0, "base": "1", "ticks": "1",
        **changes,
    }  # fmt: skip


# -- the page ------------------------------------------------------------------------------------------------------


def test_the_engines_controls_are_fields_and_the_rest_is_json(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any, mugs: list[Any]
) -> None:
    prompts.edit_draft_version(version_id=version.pk, by=designer, parameters={"backdrop": "{backdrop}", "odd": 1})
    page = page_client(designer).get(f"/brands/{brand.slug}/prompts/studio/")
    form = page.context["form"]
    assert form.initial["control_backdrop"] == "{backdrop}"
    assert '"odd": 1' in form.initial["parameters"]
    assert b'name="control_shadow"' in page.content
    assert b"reads no words" in page.content


def test_saving_keeps_what_has_no_field_and_says_where_a_mistake_is(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any
) -> None:
    client, address = page_client(designer), f"/brands/{brand.slug}/prompts/studio/"
    wrong = client.post(address, form_fields(text="A {name}\non {backdrop", control_fill="7", parameters='{"a": }'))
    assert wrong.status_code == 422
    assert b"from 0.1 to 1" in wrong.content
    assert b"line 1, character 7" in wrong.content
    wrong = client.post(address, form_fields(text="A {name}\non {backdrop"))
    assert b"line 2, character 4" in wrong.content
    assert client.post(address, form_fields(control_fill="0,7", note="smaller")).status_code == 302
    made = PromptVersion.objects.get(number=2)
    assert made.parameters == {"backdrop": "{backdrop}", "fill": 0.7}
    assert (made.policy, made.needs, made.note) == ({}, {"engine": "packshot"}, "smaller")


def test_an_unknown_placeholder_is_reported_with_the_name_that_was_meant(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any, mugs: list[Any]
) -> None:
    answer = page_client(designer).post(
        f"/brands/{brand.slug}/prompts/studio/preview/", form_fields(text="{color} {name}")
    )
    assert "Did you mean “colour”?".encode() in answer.content
    assert b'data-instead="colour"' in answer.content


def test_the_same_three_products_stay_while_versions_change(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any, mugs: list[Any]
) -> None:
    client, address = page_client(designer), f"/brands/{brand.slug}/prompts/studio/"
    client.post(f"{address}preview/", form_fields(place="0", subject=str(mugs[3].pk)))
    prompts.add_version(template_id=version.template_id, by=designer, **{**FIELDS, "text": "{name}"})
    for page in (address, f"{address}v1/"):
        shown = [preview["subject"].key for preview in client.get(page).context["shown"]]
        assert shown[0] == "M-4" and len(set(shown)) == 3
    shown = client.get(f"{address}v1/?subject={mugs[2].pk}").context["shown"]
    assert shown[0]["subject"] == mugs[2]


def test_a_product_of_another_brand_cannot_be_pinned(
    brand: Brand, other_brand: Brand, version: PromptVersion, designer: User, page_client: Any, mugs: list[Any]
) -> None:
    foreign = factories.SubjectFactory(brand=other_brand, name="Secret mug")
    client, address = page_client(designer), f"/brands/{brand.slug}/prompts/studio/"
    answer = client.post(f"{address}preview/", form_fields(place="0", subject=str(foreign.pk)))
    assert b"Secret mug" not in answer.content
    assert b"Secret mug" not in client.get(f"{address}subjects/?q=Secret").content


def test_placeholders_are_offered_with_how_many_products_have_them(brand: Brand, mugs: list[Any]) -> None:
    factories.SubjectFactory(brand=brand, attributes={"glaze": "matte", "colour": ""})
    counts, searched = selectors.count_placeholders(brand.pk)
    assert (counts["name"], counts["colour"], counts["glaze"], searched) == (5, 4, 1, 5)


@pytest.mark.parametrize("field", ["text", "negative"])
def test_a_choice_of_words_in_braces_is_explained_when_it_is_previewed_and_saved(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any, field: str
) -> None:
    client, address = page_client(designer), f"/brands/{brand.slug}/prompts/studio/"
    fields = form_fields(**{"text": "{name}", field: "{name} on a {red|blue|green} table"})
    words = "“red” is no placeholder here: of {red|blue|green} the words “blue|green” are sent as they stand."
    assert words in client.post(f"{address}preview/", fields).content.decode()
    saved = client.post(address, fields, follow=True)
    assert words in [str(message).partition(" Use an axis")[0] for message in saved.context["messages"]]


def test_words_that_the_model_does_not_read_are_grey(
    brand: Brand, designer: User, page_client: Any, mugs: list[Any], tmp_path: Any
) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    factories.EndpointFactory(engine="diffusers", config={"model": str(tmp_path)}, name="SD")
    template = factories.PromptTemplateFactory(brand=brand, slug="scene")
    long = "{name} " + "mug " * 90
    address = f"/brands/{brand.slug}/prompts/{template.slug}/preview/"
    answer = page_client(designer).post(address, form_fields(text=long, engine="diffusers", base="", axes=""))
    assert b"about 92 of 75 tokens" in answer.content
    assert b"unread" in answer.content
    assert answer.context["unread_from"] == len("{name} ") + 73 * len("mug ")


# -- trying out ----------------------------------------------------------------------------------------------------


def test_a_try_saves_what_changed_and_makes_one_sandbox_image_per_product(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any, mugs: list[Any]
) -> None:
    client, address = page_client(designer), f"/brands/{brand.slug}/prompts/studio/"
    ticked = [str(preview["subject"].pk) for preview in client.get(address).context["shown"]]
    answer = client.post(f"{address}try/", form_fields(text="A {name}", try_subject=ticked))
    assert answer["Location"] == f"{address}v2/"
    run = Run.objects.get()
    assert (run.stage, run.state, run.prompt_version.number, run.cell_count) == (Stage.SANDBOX, RunState.RUNNING, 2, 3)
    assert run.campaign.is_sandbox
    assert set(Asset.objects.values_list("is_sandbox", flat=True)) == {True}
    backdrops = [
        spec["parameters"]["backdrop"] for spec in JobSpec.objects.order_by("job").values_list("spec", flat=True)
    ]
    assert backdrops == ["white", "sand", "white"]
    page = client.get(f"{address}v2/")
    assert b'hx-trigger="every 2s"' in page.content
    assert page.content.count(b"being made") >= 3


def test_a_try_of_an_unchanged_version_adds_none_and_uses_the_same_sandbox(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any, mugs: list[Any]
) -> None:
    client, address = page_client(designer), f"/brands/{brand.slug}/prompts/studio/"
    for _ in range(2):
        client.post(f"{address}try/", form_fields(try_subject=str(mugs[0].pk)))
    assert PromptVersion.objects.count() == 1
    assert Run.objects.count() == 2
    assert Campaign.objects.filter(is_sandbox=True).count() == 1
    assert not campaign_selectors.visible(designer, brand_id=brand.pk).exists()


def test_a_look_sent_to_the_address_of_the_try_button_tries_nothing(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any, mugs: list[Any]
) -> None:
    client, address = page_client(designer), f"/brands/{brand.slug}/prompts/studio/"
    form = form_fields(text="A {name}", try_subject=str(mugs[0].pk))
    answer = client.post(f"{address}try/", form, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert not Run.objects.exists() and PromptVersion.objects.count() == 1


def test_a_try_that_cannot_be_made_leaves_nothing_and_says_why(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any
) -> None:
    bare = factories.SubjectFactory(brand=brand, key="BARE-1")
    client, address = page_client(designer), f"/brands/{brand.slug}/prompts/studio/"
    answer = client.post(f"{address}try/", form_fields(text="Another {name}", try_subject=str(bare.pk)))
    assert answer.status_code == 422
    assert b"no photo" in answer.content
    assert PromptVersion.objects.count() == 1
    assert not Run.objects.exists() and not Campaign.objects.filter(is_sandbox=True).exists()
    answer = client.post(f"{address}try/", form_fields())
    assert b"Tick at least one product" in answer.content


def test_a_viewer_cannot_try(
    brand: Brand, version: PromptVersion, viewer: User, page_client: Any, mugs: list[Any]
) -> None:
    address = f"/brands/{brand.slug}/prompts/studio/try/"
    assert page_client(viewer).post(address, form_fields(try_subject=str(mugs[0].pk))).status_code == 403
    with pytest.raises(NotAllowed):
        campaigns.get_or_create_sandbox(brand=brand, by=viewer)
    assert not Run.objects.exists()


def test_the_last_image_is_the_newest_of_this_version_and_a_failure_is_reported(
    brand: Brand, version: PromptVersion, designer: User, mugs: list[Any]
) -> None:
    run = factories.RunFactory(campaign=factories.CampaignFactory(brand=brand), prompt_version=version)
    made = [
        factories.AssetVersionFactory(
            asset__cell__run=run, asset__cell__subject=mugs[0], asset__cell__values_key=str(n)
        )
        for n in range(2)
    ]
    failed = factories.AssetFactory(cell__run=run, cell__subject=mugs[1], state=AssetState.FAILED)
    factories.JobFactory(run=run, cell=failed.cell, status="failed", error="Out of memory.")
    images = tryout_rows.last_images(version, [mug.pk for mug in mugs])
    assert images[mugs[0].pk].version_id == made[1].pk
    assert images[mugs[1].pk].problem == "Out of memory."
    assert images[mugs[2].pk].version_id is None
    other = prompts.add_version(template_id=version.template_id, by=designer, **{**FIELDS, "text": "{name}"})
    assert tryout_rows.last_images(other, [mugs[0].pk])[mugs[0].pk].version_id is None


def test_a_version_of_another_prompt_is_no_base_of_a_try(
    brand: Brand, version: PromptVersion, designer: User, mugs: list[Any]
) -> None:
    with pytest.raises(Exception, match="no version"):
        studio.try_prompt(
            template=factories.PromptTemplateFactory(brand=brand), fields=FIELDS, based_on=version,
            subjects=[mugs[0].pk], endpoint=factories.EndpointFactory(), by=designer,
        )  # fmt: skip
    assert not Job.objects.exists()


# -- approval ------------------------------------------------------------------------------------------------------


def test_a_lead_is_asked_answers_with_a_word_and_approves_later(
    brand: Brand, version: PromptVersion, designer: User, lead: User, page_client: Any
) -> None:
    address = f"/brands/{brand.slug}/prompts/studio/v1"
    page_client(designer).post(f"{address}/ask/")
    version.refresh_from_db()
    assert (version.status, version.asked_by) == ("requested", designer)
    assert Notice.objects.get(user=lead).kind == "prompt_approval_asked"
    assert b"Look and answer" in page_client(lead).get(f"/brands/{brand.slug}/prompts/").content
    assert page_client(designer).post(f"{address}/back/", {"answer": "no"}).status_code == 403
    assert page_client(lead).post(f"{address}/back/", {"answer": " "}).status_code == 422
    page_client(lead).post(f"{address}/back/", {"answer": "Name the glaze."})
    assert "Name the glaze." in Notice.objects.get(user=designer).sentence
    assert b"Name the glaze." in page_client(designer).get(f"{address}/").content
    prompts.request_approval(version_id=version.pk, by=designer)
    page_client(lead).post(f"{address}/approve/")
    version.refresh_from_db()
    assert (version.status, version.answer) == ("approved", "")
    kinds = Event.objects.filter(object_type="prompt").order_by("id").values_list("type", flat=True)
    assert [kind.rsplit(".")[-1] for kind in kinds] == [
        "version_added", "approval_asked", "version_sent_back", "approval_asked", "version_approved",
    ]  # fmt: skip


def test_a_used_version_can_still_be_asked_for_and_answered(version: PromptVersion, designer: User, lead: User) -> None:
    prompts.mark_used(version=version, by=designer)
    prompts.request_approval(version_id=version.pk, by=designer)
    with pytest.raises(Conflict):
        prompts.request_approval(version_id=version.pk, by=designer)
    with pytest.raises(Invalid):
        prompts.send_back(version_id=version.pk, by=lead, answer="")
    prompts.send_back(version_id=version.pk, by=lead, answer="Not yet.")
    assert prompts.approve_version(version_id=version.pk, by=lead).status == "approved"


# -- side by side --------------------------------------------------------------------------------------------------


def test_two_versions_show_their_differences_and_how_they_fare(
    brand: Brand, version: PromptVersion, designer: User, page_client: Any
) -> None:
    changed = {"text": "{name} on oak", "parameters": {"backdrop": "{backdrop}", "light": "left"}}
    second = prompts.add_version(template_id=version.template_id, by=designer, **{**FIELDS, **changed})
    run = factories.RunFactory(campaign=factories.CampaignFactory(brand=brand), prompt_version=second)
    tasks = [create_image_in_review(brand, run=run, specs=[]) for _ in range(3)]
    kinds = [DecisionKind.APPROVED, DecisionKind.APPROVED, DecisionKind.REJECTED]
    for task, kind in zip(tasks, kinds, strict=True):
        reason = factories.ReasonFactory(brand=brand, label="Soft") if kind == DecisionKind.REJECTED else None
        shown = task.asset.versions.get()
        factories.DecisionFactory(task=task, version=shown, kind=kind, reason=reason)
        # A second decision about the same image is not a first decision.
        factories.DecisionFactory(task=task, version=shown, kind=DecisionKind.APPROVED)
    by_version = results([version.pk, second.pk])
    assert (
        by_version[second.pk].approved_at_first_look,
        by_version[second.pk].decided,
        by_version[second.pk].approval_percent,
    ) == (2, 3, 67)
    assert by_version[second.pk].reasons == (("Soft", 1),)
    assert by_version[version.pk].approval_percent is None
    page = page_client(designer).get(f"/brands/{brand.slug}/prompts/studio/compare/?a=1&b=2")
    assert b"<ins>on oak</ins>" in page.content
    assert b"67 %" in page.content
    assert page_client(designer).get(f"/brands/{brand.slug}/prompts/studio/compare/?a=9").status_code == 404


def test_a_decision_that_was_undone_is_no_first_look(brand: Brand, version: PromptVersion) -> None:
    run = factories.RunFactory(campaign=factories.CampaignFactory(brand=brand), prompt_version=version)
    task = create_image_in_review(brand, run=run, specs=[])
    shown = task.asset.versions.get()
    wrong = factories.DecisionFactory(task=task, version=shown, kind=DecisionKind.REJECTED)
    factories.DecisionFactory(task=task, version=shown, kind=DecisionKind.UNDONE, voids=wrong)
    factories.DecisionFactory(task=task, version=shown, kind=DecisionKind.APPROVED)
    assert results([version.pk])[version.pk].approval_percent == 100


# -- a real browser ------------------------------------------------------------------------------------------------

LETTERS = """(selector) => [...document.querySelectorAll('.ink')].map((ink) => {
    const style = getComputedStyle(ink.querySelector(selector));
    return [style.fontFamily, style.fontSize, style.lineHeight, style.fontWeight, style.padding];
})"""


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_designer_types_is_offered_names_and_sees_what_it_becomes(
    brand: Brand, version: PromptVersion, designer: User, mugs: list[Any], browser_page: Any, browser_context: Any,
    live_server: Any, page_client: Callable[..., Any],
) -> None:  # fmt: skip
    cookie = page_client(designer).cookies["sessionid"].value
    browser_context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    browser_page.goto(f"{live_server.url}/brands/{brand.slug}/prompts/studio/")
    text = browser_page.locator("#id_text")
    # The marks lie over the same letters only if both are set alike.
    assert browser_page.evaluate(LETTERS, ".ink-marks") == browser_page.evaluate(LETTERS, "textarea")
    text.fill("A {na")
    text.press("End")
    text.press("m")
    browser_page.locator(".ink-names li", has_text="4 of 4 products").first.wait_for()
    text.press("Enter")
    assert text.input_value() == "A {name}"
    text.press_sequentially(" in {colr} light")
    browser_page.locator(".ink-marks mark.known", has_text="{name}").first.wait_for()
    browser_page.locator(".ink-marks mark.unknown", has_text="{colr}").first.wait_for()
    browser_page.get_by_role("button", name="Use colour").click()
    assert text.input_value() == "A {name} in {colour} light"
    browser_page.locator(".trio-one mark.value", has_text="sage").first.wait_for()
    before = browser_page.locator(".trio-head b").all_inner_texts()
    browser_page.get_by_role("button", name="Change").first.click()
    browser_page.get_by_label("SKU or name").fill(next(mug.key for mug in mugs if mug.key not in before))
    browser_page.locator("#subject-results button").first.click()
    new = next(mug.key for mug in mugs if mug.key not in before)
    browser_page.locator(".trio-head b", has_text=new).wait_for()
    browser_page.get_by_role("button", name="Save as v2").click()
    browser_page.wait_for_url("**/v2/")
    assert browser_page.locator(".trio-head b").all_inner_texts() == [new, *before[1:]]


def test_every_role_of_an_image_has_a_label(brand: Brand) -> None:
    roles = frozenset({"photo", "reference", "reference_2", "reference_10", "style_image"})
    capabilities = Capabilities(is_remote=True, obeys=frozenset(), controls=(), optional_images=roles)
    engine = EngineChoice("paint", "Paint", capabilities)
    form = PromptForm(brand=brand, engines=[engine], base=None)
    assert form.fields["images"].choices == [
        ("photo", "as a reference"),
        ("reference", "Reference"),
        ("reference_2", "Reference 2"),
        ("reference_10", "Reference 10"),
        ("style_image", "Style image"),
    ]
