"""Tests of how much of a prompt a model reads, of unknown placeholders, and of differences between two texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns import prompts
from campaigns.prompts import pieces, tokens, wording
from campaigns.prompts.presets import PRESETS

CORPUS = "stoneware mug in sage green standing on a plain white backdrop, soft light from the left; don't hands 50mm"


def clip_folder(folder: Path) -> Path:
    """Write a CLIP tokenizer as transformers saves it: every byte, and the pairs of one sentence."""
    alphabet = list(tokens._BYTES)
    words = [[*piece[:-1], piece[-1] + "</w>"] for word in CORPUS.split() for piece in tokens.pieces(word)]
    merges: list[tuple[str, str]] = []
    for _ in range(60):
        pairs = [pair for word in words for pair in pairwise(word)]
        if not pairs:
            break
        best = max(sorted(set(pairs)), key=pairs.count)
        merges.append(best)
        for word in words:
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = ["".join(best)]
                at += 1
    names = [*alphabet, *(f"{character}</w>" for character in alphabet), *("".join(pair) for pair in merges)]
    names += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(dict.fromkeys(names))}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("model") / "tokenizer")


@pytest.fixture(scope="module")
def transformers_tokenizer(folder: Path) -> Any:
    """Return transformers' own tokenizer for the same files."""
    return pytest.importorskip("transformers").CLIPTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "text",
    [
        CORPUS,
        "It's 4:5, isn't it?!",
        "Größe  in\tcm\n1234",
        "İstanbul ½ ² Ⅷ",
        "日本の器 emoji 🏺🏺",
        "a_b-c/d e\u0301clair",
        "'sage' 'till",
        "a mug:'t .','s ''re",
    ],
)
def test_our_count_is_transformers_count(text: str, folder: Path, transformers_tokenizer: Any) -> None:
    ours = tokens.load_encoder(folder)
    assert ours is not None and ours.is_exact
    assert tokens.count_tokens(text, ours).tokens == len(transformers_tokenizer(text)["input_ids"]) - 2


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from("abcdefgmnostuw äß 0159 ,.;:'!-(){}\n"), max_size=60))
def test_our_count_is_transformers_count_for_any_prose(text: str, folder: Path, transformers_tokenizer: Any) -> None:
    ours = tokens.load_encoder(folder)
    assert ours is not None
    assert tokens.count_tokens(text, ours).tokens == len(transformers_tokenizer(text)["input_ids"]) - 2


def test_the_model_stops_reading_where_transformers_cuts_off(folder: Path, transformers_tokenizer: Any) -> None:
    ours = tokens.load_encoder(folder)
    assert ours is not None
    text = " ".join([CORPUS] * 4)
    reading = tokens.count_tokens(text, ours)
    assert reading.cut is not None
    read = transformers_tokenizer.decode(
        transformers_tokenizer(text, truncation=True)["input_ids"], skip_special_tokens=True
    )
    kept = text[: reading.cut].replace(" ", "").lower()
    assert read.replace(" ", "").startswith(kept)
    assert len(read.replace(" ", "")) - len(kept) < len(text[reading.cut :].split()[0])


def test_a_whole_tokenizer_file_is_read_too(folder: Path, transformers_tokenizer: Any, tmp_path: Path) -> None:
    transformers_tokenizer.save_pretrained(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).unlink(missing_ok=True)
    ours = tokens.load_encoder(tmp_path)
    assert ours is not None and (ours.limit, ours.special_tokens, ours.is_exact) == (77, 2, True)
    assert tokens.count_tokens(CORPUS, ours).tokens == len(transformers_tokenizer(CORPUS)["input_ids"]) - 2


def test_a_word_level_tokenizer_counts_words(tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers")
    from tokenizers import models, pre_tokenizers

    made = library.Tokenizer(models.WordLevel({"mug": 0, "sage": 1, "[UNK]": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 3}')
    ours = tokens.load_encoder(tmp_path)
    assert ours is not None
    for text in ("sage mug, on oak", "mug"):
        assert tokens.count_tokens(text, ours).tokens == len(made.encode(text).ids)
    assert tokens.count_tokens("sage mug on oak", ours).cut == len("sage mug on ")


def test_without_files_the_count_says_that_it_is_an_estimate() -> None:
    reading = tokens.count_tokens("a sage mug", tokens.estimating_encoder("clip"))
    assert (reading.words, reading.cut) == ("about 3 of 75 tokens", None)
    assert tokens.count_tokens("mug " * 80, tokens.estimating_encoder("clip")).cut == 4 * 75
    assert tokens.count_tokens("mug " * 80, tokens.estimating_encoder("t5")).cut is None
    with pytest.raises(ValueError, match="known are"):
        tokens.estimating_encoder("bert")


@pytest.mark.parametrize("damage", ["vocab.json", "merges.txt", "tokenizer_config.json"])
def test_damaged_files_give_no_exact_count(damage: str, tmp_path: Path) -> None:
    broken = clip_folder(tmp_path / "tokenizer")
    (broken / damage).write_bytes(b"\xff{")
    assert tokens.load_encoder(broken) is None
    assert tokens.load_encoder(tmp_path / "nowhere") is None


# -- names ---------------------------------------------------------------------------------------------------------


def test_an_unknown_placeholder_is_reported_with_the_nearest_name() -> None:
    text = "A {color} {name} in {zzz} {glaze|matte}"
    mistakes = wording.check_spelling(text, ["colour", "name", "material"])
    assert [(text[mistake.start : mistake.end], mistake.replacement) for mistake in mistakes] == [
        ("{color}", "colour"),
        ("{zzz}", ""),
    ]
    assert "Did you mean “colour”?" in mistakes[0].message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "{name} on a {red|blue|green} table",
            "“red” is no placeholder here: of {red|blue|green} the words “blue|green”",
        ),
        ("{ oak | ash | pine } wood", "“oak” is no placeholder here: of {oak|ash | pine}"),
        ("in {dark red|light blue|}", "“dark red” is no placeholder here"),
        ("{a|b||c}", "“a” is no placeholder here"),
        ("{colour|sage|clay}", "Where a product has no “colour”, the words “sage|clay” are sent as they stand."),
        ("{morning|noon|{{night}} light", ""),
    ],
)
def test_a_choice_of_words_in_braces_is_explained(text: str, words: str) -> None:
    mistakes = [mistake for mistake in wording.check_spelling(text, ["colour", "name"]) if mistake.kind != "syntax"]
    assert [mistake.kind for mistake in mistakes] == (["alternatives"] if words else [])
    assert not words or (words in mistakes[0].message and "axis" in mistakes[0].message)
    assert not words or "|" in text[mistakes[0].start : mistakes[0].end]


@pytest.mark.parametrize("text", ["{2::red|blue}", "{2$$a|b|c}", "{|red|blue}", '{"red"|"blue"}', "{0.5|x}"])
def test_a_choice_of_words_that_is_no_placeholder_is_refused_with_the_way_to_do_it(text: str) -> None:
    (mistake,) = wording.check_spelling(text, ["colour"])
    assert mistake.kind == "syntax"
    assert "Words do not vary by {red|blue}: write {colour} and give it an axis (character" in mistake.message


@pytest.mark.parametrize("text", ["{glaze|matte}", "{glaze|}", "a | b", "{{red|blue|green}}", "{colour}"])
def test_defaults_and_bars_outside_braces_are_no_choice_of_words(text: str) -> None:
    assert "alternatives" not in [remark.kind for remark in wording.check_spelling(text, ["colour"])]


def test_a_mistake_of_syntax_names_line_and_character() -> None:
    (mistake,) = wording.check_spelling("A {name}\non {backdrop", ["name"])
    assert mistake.kind == "syntax"
    assert mistake.message.endswith("(line 2, character 4).")


# -- differences ---------------------------------------------------------------------------------------------------


def test_changed_words_are_marked_and_a_placeholder_is_one_word() -> None:
    difference = pieces.compare_words("Prompt", "A luxury mug in {colour}.", "A mug in {glaze colour}.")
    assert [piece.text for piece in difference.left if piece.is_different] == [" luxury", "{colour}"]
    assert [piece.text for piece in difference.right if piece.is_different] == ["{glaze colour}"]
    assert not difference.is_same and pieces.compare_words("Prompt", "same", "same").is_same


@given(st.text(max_size=60), st.text(max_size=60))
def test_each_side_of_a_comparison_is_its_text_again(left: str, right: str) -> None:
    difference = pieces.compare_words("text", left, right)
    assert "".join(piece.text for piece in difference.left) == left
    assert "".join(piece.text for piece in difference.right) == right


def test_settings_are_compared_by_name() -> None:
    differences = pieces.compare_settings(
        {"backdrop": "white", "fill": 0.8}, {"backdrop": ["white", "clay"], "light": "left"}
    )
    assert [(difference.name, difference.is_same) for difference in differences] == [
        ("backdrop", False),
        ("fill", False),
        ("light", False),
    ]
    assert differences[0].right[0].text == "white, clay"


# -- presets -------------------------------------------------------------------------------------------------------


def test_the_five_presets_fit_beside_a_prompt_of_forty_tokens() -> None:
    assert [preset.slug for preset in PRESETS] == [
        "product-photography", "social-media", "concept-art", "photorealistic", "minimalist",
    ]  # fmt: skip
    for preset in PRESETS:
        assert tokens.count_tokens(preset.text, tokens.estimating_encoder("clip")).tokens <= 45, preset.name
        assert preset.negative and not set(preset.text + preset.negative) & set("{}")


# -- marking -------------------------------------------------------------------------------------------------------


def test_a_prompt_is_cut_at_values_remarks_style_and_where_reading_stops() -> None:
    @dataclass
    class Guide:
        required_wording: list[str]
        approved_wording: list[str]
        banned_wording: list[str]

    source = prompts.PromptSource("A cheap {name} on oak", style="soft light")
    rendered = prompts.render(source, {"name": "mug"})
    remarks = prompts.lint(rendered.text, Guide(["stoneware"], [], ["cheap"]))
    marked = pieces.mark_remarks(rendered, remarks, rendered.text.index("oak"))
    shown = [(piece.text, piece.name, piece.kind, piece.is_style, piece.is_cut_off) for piece in marked]
    assert shown == [
        ("A ", "", "", False, False),
        ("cheap", "", "banned", False, False),
        (" ", "", "", False, False),
        ("mug", "name", "", False, False),
        (" on ", "", "", False, False),
        ("oak, ", "", "", False, True),
        ("soft light", "", "", True, True),
        ("stoneware", "", "required", False, False),
    ]


@given(st.lists(st.tuples(st.text("ab {}", max_size=8), st.sampled_from(["x", "y"])), max_size=4), st.integers(0, 60))
def test_a_place_in_a_rendered_prompt_is_found_in_its_own_text(parts: list[tuple[str, str]], place: int) -> None:
    text = "".join(f"{words.replace('{', '{{').replace('}', '}}')}{{{name}}}" for words, name in parts) + " end"
    rendered = prompts.render(prompts.PromptSource(text), {"x": "one", "y": "{two}"})
    place = min(place, len(rendered.text) - 1)
    position = pieces.source_place(text, rendered, place)
    value = next((span for span in rendered.spans if span.start <= place < span.end), None)
    if value:
        assert text.startswith(f"{{{value.name}}}", position)
    else:
        assert text[position] == rendered.text[place]
