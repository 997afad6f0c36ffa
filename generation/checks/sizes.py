"""Checks of sizes: of the image, of the product photo it was made from, and of the files made from the image."""

from __future__ import annotations

from typing import Final

from core.plugin_config import Config, setting
from generation.checks.base import CheckResult, Sample

SLIGHT: Final = 1.05
"""An image that is enlarged by no more than this factor looks the same: services round sizes to their multiples."""


class DimensionsCheck:
    """Check that the image has the width and height of its job.

    A remote service may make another size (fact "is_remote"); the files are cropped and scaled from its image, which
    is flagged only if it is too small. The score is the factor by which it is enlarged. Fact "wanted": the job's size.
    Fact "asked": the size that the service was asked for, if it cannot make the job's size.
    """

    name = "dimensions"
    label = "Size of the image"
    config = Config

    def inspect(self, sample: Sample) -> CheckResult:
        height, width = sample.pixels.shape[:2]
        job_size, requested_size = sample.facts.get("wanted"), sample.facts.get("asked")
        if not job_size:
            return CheckResult(self.name, "pass", f"{width} × {height} px; no size was asked for.")
        if [width, height] in (list(job_size), list(requested_size or ())):
            return CheckResult(self.name, "pass", f"{width} × {height} px, as asked.")
        if sample.facts.get("is_remote"):
            return self._fitted(width, height, job_size[0], job_size[1])
        message = f"The image is {width} × {height} px; {job_size[0]} × {job_size[1]} px were asked for."
        return CheckResult(self.name, "fail", message)

    def _fitted(self, width: int, height: int, wanted_width: int, wanted_height: int) -> CheckResult:
        """Return the result for an image that is cropped and scaled to the job's size."""
        scale = max(wanted_width / width, wanted_height / height)
        sizes = f"{width} × {height} px, and {wanted_width} × {wanted_height} px are wanted"
        outcome, message = "pass", f"The service made {sizes}: it is cropped and scaled."
        if scale > SLIGHT:
            outcome, message = "flag", f"The service made {sizes}: it is enlarged {scale:.1f} times and may look soft."
        return CheckResult(self.name, outcome, message, round(scale, 2))


class PhotoSizeConfig(Config):
    enlarged: float = setting(
        "A photo may be enlarged",
        "From this on the product is flagged as likely to look soft. Lower it for close-ups that people zoom into; "
        "raise it for thumbnails and social posts.",
        default=1.5, minimum=1, maximum=6, step=0.05, unit="times",
    )  # fmt: skip


class PhotoSizeCheck:
    """Check that the product photo has enough pixels for the largest output spec. The score is its enlargement factor.
    Facts: "photo" [width, height], or None where no photo was used; "specs" as in `Sample`."""

    name = "photo_size"
    label = "Size of the product photo"
    config = PhotoSizeConfig

    def inspect(self, sample: Sample) -> CheckResult:
        photo = sample.facts.get("photo")
        if not photo or not min(photo):
            return CheckResult(self.name, "pass", "Made without a photo.")
        height, width = sample.pixels.shape[:2]
        specs = sample.facts.get("specs") or [{"slug": "the image", "width": width, "height": height}]
        # The product keeps its proportions, so the smaller of the two scales decides how far its photo is enlarged.
        scales = [min(spec["width"] / photo[0], spec["height"] / photo[1]) for spec in specs]
        needed = max(scales)
        spec = specs[scales.index(needed)]
        size = f"{photo[0]} × {photo[1]} px"
        if needed < sample.read_config(self.name, self.config).enlarged:
            return CheckResult(self.name, "pass", f"The photo ({size}) is large enough.", round(needed, 2))
        message = (
            f"The photo is only {size}; {spec['slug']} wants {spec['width']} × {spec['height']} px, so the product is"
            f" enlarged about {needed:.1f} times and may look soft. Ask for a larger photo."
        )
        return CheckResult(self.name, "flag", message, round(needed, 2))


class RenditionsConfig(Config):
    enlarged: float = setting(
        "A file may be larger than its image",
        "From this on a file that had to be enlarged from the image made is flagged. Lower it where sharpness "
        "matters most; raise it for channels that show small.",
        default=1.25, minimum=1, maximum=4, step=0.05, unit="times",
    )  # fmt: skip


class RenditionsCheck:
    """Check that every file could be made, and that none is much larger than the image. Fact "files": see `Sample`.

    The score is the largest factor by which a file is enlarged from the image.
    """

    name = "renditions"
    label = "Files"
    config = RenditionsConfig

    def inspect(self, sample: Sample) -> CheckResult | None:
        if not (files := sample.facts.get("files")):
            return None
        if problems := [f"{file['slug']}: {file['problem']}" for file in files if file["problem"]]:
            return CheckResult(self.name, "fail", " ".join(problems))
        largest = max(files, key=lambda file: file["scale"])
        scale = largest["scale"]
        if scale >= sample.read_config(self.name, self.config).enlarged:
            height, width = sample.pixels.shape[:2]
            message = (
                f"{largest['slug']} wants {largest['width']} × {largest['height']} px, the image was made with"
                f" {width} × {height} px: it is enlarged {scale:.1f} times."
            )
            return CheckResult(self.name, "flag", message, round(scale, 2))
        made = "1 file" if len(files) == 1 else f"{len(files)} files"
        return CheckResult(self.name, "pass", f"{made}, each within its limit.", round(scale, 2))
