"""Search the account's list of predictions, newest first, for the one whose answer was lost."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from generation.engines import service
from generation.engines.base import EngineError, ErrorKind, Spec
from generation.engines.replicate import predictions
from generation.engines.replicate.config import Config
from generation.engines.replicate.images import ImageUploads
from generation.engines.replicate.inputs import Inputs
from generation.engines.replicate.shared import call
from generation.engines.service import Service

MAX_PAGES: Final = 200
MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=60)
"""The most that the service's clock may be behind ours."""


class Search:
    """Search for the submissions of one endpoint. config: the endpoint's, which names the model."""

    def __init__(self, source: Service, inputs: Inputs, images: ImageUploads, config: Config) -> None:
        self.service = source
        self.inputs = inputs
        self.images = images
        self.version = config.version.rpartition(":")[2]
        self.model = config.model

    @staticmethod
    def list_pages(source: Service) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the list page by page, newest first. Raises EngineError if it cannot be read to the end."""
        path = "predictions"
        for _ in range(MAX_PAGES):
            page = service.parse_json(call(source, "GET", path), source.host)
            yield [entry for entry in page.get("results") or () if isinstance(entry, Mapping)]
            following = urlsplit(str(page.get("next") or ""))
            if not following.query:
                return
            # Only the cursor is used: the address may be anything, and our token goes with the call.
            path = f"predictions?{following.query}"
        raise EngineError(ErrorKind.TRANSIENT, f"{source.host} lists more predictions than were looked through.")

    def find(self, spec: Spec, webhook: str, since: datetime, taken: Collection[str]) -> str | None:
        """Return the id of the prediction for this spec: the one with our webhook, else the best candidate.

        An input equal to ours is better than one that the service completed with defaults. A start at or after `since`
        is better than one that needs a clock difference. Then the nearest to `since` is best: the next may be another
        task's.
        """
        candidates: list[tuple[bool, bool, timedelta, str]] = []
        expected = self.inputs.model_input(spec)
        for prediction in self._predictions_since(since - MAX_CLOCK_DIFFERENCE):
            if webhook and prediction.get("webhook") == webhook:
                return str(prediction["id"])
            if prediction.get("id") in taken or not self._may_be_ours(prediction, webhook):
                continue
            theirs = prediction["input"]
            if expected.items() <= theirs.items() and self._has_images(self._image_values(theirs), spec):
                began = predictions.parse_time(prediction.get("created_at")) or since
                is_completed = len(theirs) > len(expected) + len(self._image_values(theirs))
                candidates.append((is_completed, began < since, abs(began - since), str(prediction["id"])))
        return min(candidates)[-1] if candidates else None

    def _predictions_since(self, oldest: datetime) -> Iterator[Mapping[str, Any]]:
        for page in self.list_pages(self.service):
            for prediction in page:
                began = predictions.parse_time(prediction.get("created_at"))
                if began is not None and began < oldest:
                    return
                yield prediction

    def _may_be_ours(self, prediction: Mapping[str, Any], webhook: str) -> bool:
        if webhook and prediction.get("webhook"):
            return False
        if self.version and prediction.get("version") != self.version:
            return False
        if self.model and prediction.get("model") != self.model:
            return False
        return isinstance(prediction.get("input"), Mapping) and bool(prediction["input"])

    def _image_values(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        names = {image.input for image in self.inputs.images.values()}
        return {name: value for name, value in theirs.items() if name in names}

    def _has_images(self, images: Mapping[str, Any], spec: Spec) -> bool:
        """Return whether the inputs hold every image of the spec in its place, and no other."""
        left = {name: list(value) if isinstance(value, list) else [value] for name, value in images.items()}
        for role, ref in spec.images.items():
            values = left.get(self.inputs.images[role].input, [])
            if not values or not self.images.is_same_image(values.pop(0), ref.sha256):
                return False
        return not any(left.values())
