"""Test finishing: sizes, crops, encoders with a byte limit, file names, and developing an image in one pass."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from campaigns import name_patterns
from campaigns.photos.cutout import cut_out
from campaigns.visible_labels import Label
from generation.engines.base import Pixels
from generation.finishing import crop, encode, names, subject
from generation.finishing.base import Target, TooLarge
from generation.finishing.decode import Undecodable, decode
from generation.finishing.develop import BadPixels, develop
from generation.finishing.resample import composite_over, resize, shrink_to_fit
from tests.support.racing import race_without_errors

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "photos"


def opened(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def studio(width: int = 400, height: int = 400, *, box: tuple[int, int, int, int] = (150, 100, 250, 300)) -> Pixels:
    """A clay-red block in `box` (left, top, right, bottom) on a light backdrop that darkens downwards, with grain."""
    backdrop = np.linspace(245, 205, height)[:, None, None] * np.ones((1, width, 3))
    left, top, right, bottom = box
    backdrop[top:bottom, left:right] = (181, 80, 40)
    grainy = backdrop + np.random.default_rng(2).normal(0, 2, backdrop.shape)
    return np.clip(grainy, 0, 255).astype(np.uint8)


def scene() -> Pixels:
    """Texture from edge to edge, with a bright disc right of the middle and no plain backdrop."""
    random = np.random.default_rng(3)
    image = cv2.GaussianBlur(random.uniform(0, 255, (300, 500, 3)).astype(np.float32), (0, 0), 4.0)
    image = (image - image.mean()) * 6 + 110
    y, x = np.mgrid[0:300, 0:500]
    image[np.hypot(x - 380, y - 150) < 40] = (250, 240, 60)
    return np.clip(image, 0, 255).astype(np.uint8)


def glass(size: int = 200) -> Pixels:
    """A half-transparent green disc on a transparent background; the invisible pixels are magenta."""
    y, x = np.mgrid[0:size, 0:size]
    inside = np.hypot(x - size / 2, y - size / 2) < size / 4
    image = np.zeros((size, size, 4), np.uint8)
    image[..., :3] = np.where(inside[..., None], (30, 160, 60), (255, 0, 255))
    image[..., 3] = np.where(inside, 128, 0)
    return image


# -- sizes ----------------------------------------------------------------------------------------------------------


def test_the_colour_of_invisible_pixels_does_not_bleed_into_the_edge() -> None:
    small = resize(glass(), 50, 50)
    assert small.shape == (50, 50, 4)
    visible = small[small[..., 3] > 0]
    assert np.abs(visible[:, :3].astype(int) - (30, 160, 60)).max() <= 2
    large = resize(glass(), 300, 300)
    assert np.abs(large[large[..., 3] > 8][:, :3].astype(int) - (30, 160, 60)).max() <= 6


def test_within_keeps_the_aspect_and_never_enlarges() -> None:
    assert shrink_to_fit(studio(800, 400), 200).shape == (100, 200, 3)
    same = studio(100, 50)
    assert shrink_to_fit(same, 200) is same


def test_alpha_is_laid_over_the_background() -> None:
    flat = composite_over(glass(), "#ffffff")
    assert tuple(flat[0, 0]) == (255, 255, 255)
    assert np.abs(flat[100, 100].astype(int) - (142, 207, 157)).max() <= 1


# -- where the subject is -------------------------------------------------------------------------------------------


def test_the_subject_is_found_on_a_backdrop_with_a_gradient_and_grain() -> None:
    region = subject.find_subject(studio())
    assert region is not None
    assert np.abs(np.subtract(region, (0.375, 0.25, 0.625, 0.75))).max() < 0.03


def test_a_white_plate_on_white_is_found_by_its_shading() -> None:
    y, x = np.mgrid[0:400, 0:400]
    distance = np.hypot(x - 200, (y - 230) * 1.6)
    plate = np.where(distance < 120, 238 - 22 * np.cos(distance / 120 * np.pi), 250.0)
    region = subject.find_subject(np.repeat(plate[..., None], 3, axis=2).astype(np.uint8))
    assert region is not None
    assert np.abs(np.subtract(region, (0.2, 0.387, 0.8, 0.7625))).max() < 0.05


def test_the_subject_is_found_in_its_alpha() -> None:
    region = subject.find_subject(glass())
    assert region is not None
    assert np.abs(np.subtract(region, (0.25, 0.25, 0.75, 0.75))).max() < 0.02


def test_in_a_scene_the_salient_part_is_the_subject() -> None:
    region = subject.find_subject(scene())
    assert region is not None
    left, top, right, bottom = region
    assert left < 380 / 500 < right
    assert top < 0.5 < bottom


@pytest.mark.parametrize(
    "photo", ["mug-moss", "lamp-celadon", "plate-chalk", "bottle-plum", "teapot-moss", "jar-charcoal"]
)
def test_the_subject_of_an_example_photo_is_where_its_cut_out_is(photo: str) -> None:
    pixels = decode((EXAMPLES / f"{photo}.jpg").read_bytes())
    height, width = pixels.shape[:2]
    expected_box = np.divide(cut_out(pixels).box, (width, height, width, height))
    box = subject.find_subject(pixels)
    assert box is not None
    assert np.abs(np.subtract(box, expected_box)).max() < 0.07
    assert (np.subtract(box, expected_box)[:2] < 0.02).all(), "nothing of it is left out"
    assert (np.subtract(box, expected_box)[2:] > -0.02).all(), "nothing of it is left out"


def test_nothing_is_found_where_nothing_is() -> None:
    assert subject.find_subject(np.full((100, 100, 3), 200, np.uint8)) is None


# -- crops ----------------------------------------------------------------------------------------------------------

shares = st.tuples(
    st.floats(0, 0.9, allow_subnormal=False),
    st.floats(0, 0.9, allow_subnormal=False),
    st.floats(0.05, 1),
    st.floats(0.05, 1),
).map(lambda b: (b[0], b[1], min(1.0, b[0] + b[2]), min(1.0, b[1] + b[3])))


@given(st.integers(16, 3000), st.integers(16, 3000), st.floats(0.2, 5), shares)
def test_a_crop_never_cuts_the_subject(
    width: int, height: int, aspect: float, box: tuple[float, float, float, float]
) -> None:
    part = crop.window(width, height, aspect, box)
    assert part.left <= box[0] * width + 1
    assert part.top <= box[1] * height + 1
    assert part.left + part.width >= box[2] * width - 1
    assert part.top + part.height >= box[3] * height - 1
    assert abs(part.width - part.height * aspect) <= max(1.0, aspect)


@given(st.integers(16, 3000), st.integers(16, 3000), st.floats(0.2, 5))
def test_without_a_subject_a_crop_is_the_largest_one_in_the_middle(width: int, height: int, aspect: float) -> None:
    part = crop.window(width, height, aspect, None)
    assert part.width >= width - 1 or part.height >= height - 1
    assert part.left >= 0
    assert part.top >= 0
    assert part.left + part.width <= width + 1
    assert abs((part.left + part.width / 2) - width / 2) <= 1


def test_a_crop_follows_the_subject_to_the_side() -> None:
    part = crop.window(1000, 500, 1.0, (0.7, 0.2, 0.9, 0.8))
    assert (part.width, part.height) == (500, 500)
    assert part.left == 500


def test_the_backdrop_is_carried_on_where_the_subject_would_not_fit() -> None:
    image = studio(400, 400, box=(150, 20, 250, 380))
    wide = crop.fit_to_size(image, 800, 400, subject.find_subject(image))
    assert wide.shape == (400, 800, 3)
    red = (wide[..., 0].astype(int) - wide[..., 2]) > 80
    rows = np.flatnonzero(red.any(axis=1))
    assert rows[0] <= 24
    assert rows[-1] >= 376
    beyond, backdrop = wide[:, :180].astype(float), image[:, :100].astype(float)
    assert np.abs(beyond.mean(axis=(1, 2)) - backdrop.mean(axis=(1, 2))).max() < 4, "the gradient goes on"
    assert beyond[100:300].std(axis=1).mean() > 0.5, "the grain goes on"
    assert not (red[:, :180]).any()


def test_a_transparent_image_is_carried_on_transparent() -> None:
    tall = crop.fit_to_size(glass(), 100, 300, (0.0, 0.25, 1.0, 0.75))
    assert tall.shape == (300, 100, 4)
    assert tall[:50, :, 3].max() == 0


def test_the_same_aspect_is_only_scaled() -> None:
    assert crop.same_aspect((1024, 1024), (800, 800))
    assert crop.same_aspect((1024, 1280), (1080, 1350))
    assert not crop.same_aspect((1024, 1024), (1080, 1350))


# -- encoders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", [studio(), glass(), scene()], ids=["rgb", "rgba", "texture"])
def test_a_master_is_exact_to_the_last_bit(image: Pixels) -> None:
    file = encode.encode_master(image)
    assert (opened(file.data) == image).all()
    assert (file.image_format, file.width, file.height, file.quality) == (
        "png",
        image.shape[1],
        image.shape[0],
        None,
    )
    assert file.sha256 == hashlib.sha256(file.data).hexdigest()


def test_the_same_pixels_give_the_same_bytes_on_any_thread() -> None:
    image = scene()
    targets = [
        Target("a", 300, 300, "jpeg", 20_000),
        Target("b", 300, 180, "webp"),
        Target("c", 300, 300, "avif", label=Label("AI")),
    ]

    def work() -> list[str]:
        made = develop(image, {}, targets)
        return [
            made.master.sha256, *(t.sha256 for t in made.thumbnails.values()), *(e.sha256 for _, e in made.renditions),
        ]  # fmt: skip

    seen = race_without_errors(*[work] * 4)
    assert all(hashes == seen[0] for hashes in seen)


@pytest.mark.parametrize("image_format", ["jpeg", "webp", "avif"])
def test_a_byte_limit_is_kept_at_the_best_quality_that_fits(image_format: str) -> None:
    free = encode.encode(scene(), image_format)
    assert free.quality == encode.START_QUALITY[image_format]
    limit = len(free.data) * 2 // 3
    squeezed = encode.encode(scene(), image_format, max_bytes=limit)
    assert len(squeezed.data) <= limit
    assert squeezed.quality is not None
    write = encode._WRITERS[image_format]
    assert len(write(scene(), squeezed.quality + 1)) > limit, "one more step of quality would not have fitted"


@pytest.mark.parametrize("image_format", ["jpeg", "webp", "avif", "png"])
def test_an_image_that_is_all_noise_can_be_encoded(image_format: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    assert opened(encode.encode(noise, image_format).data).shape == noise.shape


@pytest.mark.parametrize("image_format", ["jpeg", "webp", "avif", "png"])
def test_what_cannot_fit_is_too_large_and_says_how_large(image_format: str) -> None:
    with pytest.raises(TooLarge, match=r"500 × 300 px needs .* kB.*limit is 1 kB"):
        encode.encode(scene(), image_format, max_bytes=1000)


def test_a_png_over_its_limit_is_packed_harder_first() -> None:
    image = np.tile(np.arange(200, dtype=np.uint8)[:, None, None] % 7 * 30, (1, 300, 3))
    quick = encode.encode(image, "png")
    tight = encode.encode(image, "png", max_bytes=len(quick.data) - 1)
    assert len(tight.data) < len(quick.data)
    assert (opened(tight.data) == image).all()


def test_transparency_is_kept_or_laid_over_the_background() -> None:
    for image_format in ("webp", "avif"):
        assert opened(encode.encode(glass(), image_format).data).shape[2] == 4
    jpeg = opened(encode.encode(glass(), "jpeg", background="#102030").data)
    assert np.abs(jpeg[5, 5].astype(int) - (16, 32, 48)).max() <= 3
    assert opened(encode.encode(glass(), "png", background="#102030").data).shape[2] == 3


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'bmp'; known are jpeg, png, webp, avif"):
        encode.encode(studio(), "bmp")


# -- develop --------------------------------------------------------------------------------------------------------

FACTS = {"wanted": [400, 400], "photo": [900, 900], "specs": [{"slug": "shop", "width": 400, "height": 400}]}


def test_developing_gives_everything_at_once() -> None:
    targets = [Target("shop", 400, 400, "jpeg"), Target("banner", 600, 300, "webp", 30_000)]
    made = develop(studio(), FACTS, targets)
    assert (opened(made.master.data) == studio()).all()
    assert set(made.thumbnails) == {1024, 512, 256}
    assert opened(made.thumbnails[256].data).shape == (256, 256, 3)
    assert opened(made.thumbnails[1024].data).shape == (400, 400, 3), "never enlarged"
    assert [(target.slug, file.width, file.height) for target, file in made.renditions] == [
        ("shop", 400, 400),
        ("banner", 600, 300),
    ]
    assert [opened(file.data).shape[:2] for _, file in made.renditions] == [(400, 400), (300, 600)]
    assert {check_result.check: check_result.outcome for check_result in made.check_results} == {
        "pixels": "pass",
        "blank": "pass",
        "dimensions": "pass",
        "photo_size": "pass",
        "renditions": "flag",
    }
    assert set(made.hashes) == {"pdq", "pdq_quality", "colours"}
    assert len(made.hashes["colours"]) == 48
    assert made.subject_box is not None


def test_a_rendition_that_cannot_fit_is_a_finding_and_the_others_are_made() -> None:
    made = develop(scene(), {}, [Target("tiny", 500, 300, "png", 2_000), Target("shop", 500, 300, "jpeg")])
    assert [target.slug for target, _ in made.renditions] == ["shop"]
    check_result = made.check_results[-1]
    assert (check_result.check, check_result.outcome) == ("renditions", "fail")
    assert check_result.message.startswith("tiny: PNG of 500 × 300 px needs")


def test_renditions_can_be_made_again_to_the_byte() -> None:
    targets = [Target("tall", 300, 600, "webp", 20_000), Target("shop", 400, 400, "jpeg")]
    first = develop(studio(), FACTS, targets)
    repeated = develop(opened(first.master.data), FACTS, targets)
    assert [file.sha256 for _, file in repeated.renditions] == [file.sha256 for _, file in first.renditions]


def test_the_engines_own_subject_box_is_believed() -> None:
    facts = {"subject_box": [0.0, 0.0, 0.2, 1.0]}
    made = develop(studio(box=(300, 100, 380, 300)), facts, [Target("tall", 100, 400, "png")])
    assert made.subject_box == (0.0, 0.0, 0.2, 1.0)
    assert (opened(made.renditions[0][1].data)[..., 2] > 100).all(), "the left edge is shown, not the block at right"


def test_alpha_that_hides_nothing_is_dropped() -> None:
    opaque = np.dstack([studio(), np.full((400, 400), 255, np.uint8)])
    made = develop(opaque, {}, [])
    assert not made.has_alpha
    assert opened(made.master.data).shape == (400, 400, 3)
    assert develop(glass(), {}, []).has_alpha


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((10, 10), np.uint8), r"got \(10, 10\)"),
        (np.zeros((10, 10, 3), np.float32), "float32"),
        (np.zeros((0, 10, 3), np.uint8), r"got \(0, 10, 3\)"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused(pixels: Pixels, words: str) -> None:
    with pytest.raises(BadPixels, match=words):
        develop(pixels, {}, [])


def test_a_view_of_other_memory_order_is_developed_like_a_copy() -> None:
    turned = np.rot90(scene())
    assert develop(turned, {}, []).master.sha256 == develop(turned.copy(), {}, []).master.sha256


# -- decoding uploads -----------------------------------------------------------------------------------------------


def test_what_was_encoded_decodes_to_the_same_pixels() -> None:
    for image in (studio(), glass()):
        assert (decode(encode.encode_master(image).data) == image).all()


def test_an_upload_is_turned_upright() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene()).save(buffer, "JPEG", exif=exif)
    assert decode(buffer.getvalue()).shape == (500, 300, 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a PNG"),
        (b"<svg/>", "not a PNG"),
        (encode.encode_master(studio()).data[:-2000], "cut off"),
    ],
)
def test_a_broken_upload_says_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(Undecodable, match=words):
        decode(data)


def test_an_animation_is_refused() -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(studio()), Image.fromarray(studio(box=(0, 0, 90, 90)))]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(Undecodable, match="animation"):
        decode(buffer.getvalue())


# -- names ----------------------------------------------------------------------------------------------------------

VALUES = {
    "brand": "Kiln & Loom", "campaign": "Spring 2027", "sku": "MUG/01 blå", "asset_type": "packshot",
    "date": "2026-11-21", "variation": 2, "status": "approved", "spec": "shop-1200",
}  # fmt: skip


def test_a_name_is_made_safe_for_every_system() -> None:
    name = names.name_for("{brand}_{sku}_{asset_type}_{date}_{variation}", VALUES, image_format="jpeg")
    assert name == "Kiln-Loom_MUG-01-bla_packshot_2026-11-21_2.jpg"


def test_slashes_of_the_pattern_make_folders_and_those_of_values_do_not() -> None:
    assert names.name_for("{brand}/{sku}/{spec}", VALUES | {"sku": "../../etc"}) == "Kiln-Loom/etc/shop-1200"


def test_a_missing_value_leaves_no_doubled_separators() -> None:
    assert names.name_for("{brand}_{campaign}_{sku}", VALUES | {"campaign": ""}) == "Kiln-Loom_MUG-01-bla"


def test_names_that_windows_keeps_for_itself_are_changed() -> None:
    assert names.name_for("{sku}", {"sku": "con"}, image_format="png") == "_con.png"


def test_other_scripts_stay_apart() -> None:
    first, second = (names.name_for("{sku}", {"sku": sku}) for sku in ("чашка 1", "тарелка 1"))
    assert first != second
    assert first.isascii()


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_value_can_break_a_name(sku: str, brand: str) -> None:
    name = names.name_for(
        "{brand}/{sku}_{variation}", {"sku": sku, "brand": brand, "variation": 1}, image_format="webp"
    )
    assert name.endswith(".webp")
    assert not name.startswith(("/", "."))
    assert all(part and len(part) <= 130 and not part.startswith(("-", ".")) for part in name.split("/"))
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{sku}_{colour}", "no {colour}; known are {brand}"),
        ("{sku", "brace"),
        ("{brand}_{date}", "same name"),
        ("", "empty"),
        ("../{sku}", "inside its folder"),
        ("{sku:>900000000}", "no format"),
    ],
)
def test_a_wrong_pattern_is_explained(pattern: str, words: str) -> None:
    assert words in " ".join(name_patterns.lint(pattern))
    with pytest.raises(ValueError, match=r"\w"):
        names.name_for(pattern, VALUES)
