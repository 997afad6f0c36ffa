"""The check that product images keep the product: its pixels are those of the photo, only scaled."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def assert_product_unchanged(pixels: np.ndarray, rgba: np.ndarray, box: Sequence[float], *, least: int = 5000) -> None:
    """Assert that within the eroded mask every pixel of the image equals the scaled original.

    pixels: height × width × 3. rgba: h × w × 4, cropped to the product. box: its place, as shares of the image.
    least: how many pixels the check must cover to mean anything.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
    size = (right - left, bottom - top)
    method = cv2.INTER_AREA if size[0] < rgba.shape[1] else cv2.INTER_CUBIC
    scaled = cv2.resize(np.ascontiguousarray(rgba[..., :3]), size, interpolation=method)
    solid = cv2.resize((rgba[..., 3] == 255).astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 1
    solid = cv2.erode(solid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert solid.sum() > least
    assert np.array_equal(pixels[top:bottom, left:right][solid], scaled[solid])
