"""Images as the shards hold them."""

import io

import numpy as np
import pytest
from PIL import Image

from gsbench.store.webp import MAX_METHOD, decode_image, encode_webp


def picture(height: int, width: int, channels: int) -> np.ndarray:
    """Noise with a part that is clear and yet has colors."""
    image = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    image[: height // 2, :, 3:] = 0
    return image


@pytest.mark.parametrize("method", [0, 1, MAX_METHOD])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (17, 33), (64, 64)])
def test_every_pixel_comes_back(size: tuple[int, int], channels: int, method: int) -> None:
    image = picture(*size, channels)
    encoded = encode_webp(image, method)
    assert encoded == encode_webp(image, method)
    np.testing.assert_array_equal(decode_image(encoded), image)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encoded))), image)


def test_damaged_files_are_told() -> None:
    encoded = encode_webp(picture(20, 30, 3), 0)
    for data in (encoded[:-20], b"no picture", b""):
        with pytest.raises(ValueError, match="no WebP that can be decoded"):
            decode_image(data)


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 2)])
def test_what_is_no_color_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        encode_webp(np.zeros(shape, np.uint8), 0)
