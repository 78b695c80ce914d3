"""What our encoder writes, read back by Pillow's decoder, which shares no line with it."""

import io

import numpy as np
import pytest
from PIL import Image

from gsbench.store.webp import decode_image, encode_webp


def gradient(height: int, width: int, channels: int) -> np.ndarray:
    """A smooth picture with noise, a hard edge and an empty background."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    waves = [120 + 100 * np.sin(x / (9 + c) + y / (17 - c)) for c in range(channels)]
    image = (np.stack(waves, -1) + rng.integers(0, 3, (height, width, channels))).astype(np.uint8)
    image[: height // 3] = 0 if channels == 4 else 255
    if channels == 4:
        image[height // 3 :, :, 3] = np.where(x[height // 3 :] % 40 < 35, 255, 130)
    return image


def noise(height: int, width: int, channels: int, levels: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, levels, (height, width, channels), np.uint8)


def plain(height: int, width: int, channels: int, value: int = 0) -> np.ndarray:
    return np.full((height, width, channels), value, np.uint8)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3), (16, 16), (17, 33), (128, 64), (224, 224)])
@pytest.mark.parametrize("picture", [gradient, noise, plain])
def test_every_pixel_comes_back(picture, size: tuple[int, int], channels: int) -> None:
    image = picture(*size, channels)
    decoded = np.asarray(Image.open(io.BytesIO(encode_webp(image))))
    # A decoder may drop an alpha channel that says nothing.
    if decoded.shape != image.shape:
        assert decoded.shape[:2] == image.shape[:2]
        assert (image[..., 3] == 255).all()
    np.testing.assert_array_equal(decoded, image[..., : decoded.shape[2]])


@pytest.mark.parametrize(
    "image",
    [
        plain(300, 300, 3, 255),  # runs longer than one copy may be
        plain(40, 40, 4, 255),
        noise(40, 40, 4, levels=2),
        noise(64, 64, 3, levels=3),
        np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3),
        np.indices((48, 48)).sum(0)[..., None].repeat(3, -1).astype(np.uint8) * 5,
        np.tile(np.array([[[0, 0, 0, 0], [9, 9, 9, 9]]], np.uint8), (50, 25, 1)),
    ],
)
def test_pictures_that_leave_symbols_unused(image: np.ndarray) -> None:
    decoded = np.asarray(Image.open(io.BytesIO(encode_webp(image))))
    np.testing.assert_array_equal(decoded, image[..., : decoded.shape[2]])


def test_a_skewed_picture_needs_the_longest_codes() -> None:
    """Frequencies like Fibonacci's numbers make the deepest Huffman tree, deeper than the format allows."""
    fibonacci = [1, 1]
    while sum(fibonacci) < 90_000:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    values = np.repeat(np.arange(len(fibonacci), dtype=np.uint8) * 11, fibonacci)
    image = np.random.default_rng(0).permutation(values)[: 300 * 300].reshape(300, 300, 1).repeat(3, -1)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_webp(image)))), image)


def test_smaller_than_the_fastest_of_the_others() -> None:
    image = gradient(224, 224, 4)
    sizes = {}
    for name, options in {"PNG": {"compress_level": 1}, "WEBP": {"lossless": True, "quality": 0, "method": 0}}.items():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, name, **options)
        sizes[name] = len(buffer.getvalue())
    assert len(encode_webp(image)) < 0.95 * min(sizes.values())


def test_our_own_decoding_keeps_the_channels() -> None:
    for channels in (3, 4):
        image = gradient(20, 30, channels)
        np.testing.assert_array_equal(decode_image(encode_webp(image)), image)
    with pytest.raises(ValueError, match="no WebP that can be decoded"):
        decode_image(encode_webp(image)[:-20])
    with pytest.raises(ValueError, match="no WebP that can be decoded"):
        decode_image(b"no picture")


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 2), (0, 4, 3), (4, 16_385, 3)])
def test_what_the_format_cannot_hold_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 16384 pixels a side"):
        encode_webp(np.zeros(shape, np.uint8))
