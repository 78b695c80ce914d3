"""Lossless WebP of smooth images before an empty background, fast: predict, then prefix codes and runs.

The format is RFC 9649. Of its means this uses: subtract green; a predictor for every tile of 16 x 16 pixels; a group of
prefix codes for every kind of tile; the colour cache; and runs of equal residuals (copies of the left neighbour).
Pixels are `[h w 4]` uint8, r g b a.
"""

import numpy as np
from numba import njit

from gsbench.store.huffman_kernels import put, put_code

_TILE_BITS = 4
_TILE = 1 << _TILE_BITS
_LEFT, _TOP, _AVERAGE, _SELECT, _GRADIENT = 1, 2, 7, 11, 12  # as the format numbers its predictors
_MODES = np.array([_SELECT, _GRADIENT, _LEFT, _TOP, _AVERAGE])
# Kinds of tiles: by the mean absolute residual of a pixel up to the first two, above them, and those with an edge.
_CALM = np.array([1.5, 4.0])
_KINDS = len(_CALM) + 2
_MIN_RUN, _MAX_RUN = 6, 4096
_LENGTHS = 256  # symbols of the first code: green values, prefixes of run lengths, places in the colour cache
_CACHED = 256 + 24
_CACHE_BITS = 8
_CACHE_FACTOR = np.uint32(0x1E35A7BD)
_SYMBOLS = _CACHED + (1 << _CACHE_BITS)
_DISTANCES = 40
_LEFT_NEIGHBOUR = 1  # prefix of the distance code of the pixel to the left; it needs no further bits
_HEADER_BYTES = 20

# What a file takes at most: four codes of 14 bits a pixel and a share of the tiles', and the codes themselves.
BYTES_A_PIXEL, BYTES_ASIDE = 8, 16_384


@njit(cache=True)
def encode(image, out):
    """Writes `image` `[h w 3 or 4]` uint8 as a WebP file into `out` (see BYTES_A_PIXEL); returns the file's length."""
    height, width, channels = image.shape
    pixels = np.empty((height, width, 4), np.uint8)
    _subtract_green(image, pixels)
    tiles = np.empty((2, -(-height // _TILE), -(-width // _TILE)), np.uint8)
    modes, kinds = tiles[0], tiles[1]
    _choose_modes(pixels, modes, kinds)
    residuals = np.empty((height, width), np.uint32)
    _subtract_predictions(pixels, modes, residuals)
    stream = np.zeros(3, np.uint64)
    stream[2] = _HEADER_BYTES
    put(out, stream, 0x2F, 8)
    put(out, stream, width - 1, 14)
    put(out, stream, height - 1, 14)
    put(out, stream, channels == 4, 1)
    put(out, stream, 0, 3)
    put(out, stream, 1, 1)
    put(out, stream, 2, 2)  # transform: subtract green
    put(out, stream, 1, 1)
    put(out, stream, 0, 2)  # transform: predict
    put(out, stream, _TILE_BITS - 2, 3)
    _put_tiles(modes, out, stream)
    put(out, stream, 0, 1)  # no further transform
    put(out, stream, 1, 1)
    put(out, stream, _CACHE_BITS, 4)
    put(out, stream, 1, 1)  # groups of prefix codes
    put(out, stream, _TILE_BITS - 2, 3)
    _put_tiles(kinds, out, stream)
    _put_pixels(
        residuals.view(np.uint8).reshape(height, width, 4), kinds, np.int64(kinds.max()) + 1, _CACHE_BITS, out, stream
    )
    put(out, stream, 0, 7)  # the last bits, up to a whole byte
    return _put_header(out, np.int64(stream[2]))


@njit
def _put_header(out, end):
    length = end - _HEADER_BYTES
    if length % 2:
        out[end] = 0
        end += 1
    for at, text in ((0, b"RIFF"), (8, b"WEBP"), (12, b"VP8L")):
        for i in range(4):
            out[at + i] = text[i]
    for i in range(4):
        out[4 + i] = ((end - 8) >> (8 * i)) & 255
        out[16 + i] = (length >> (8 * i)) & 255
    return end


@njit
def _subtract_green(image, pixels):
    height, width, channels = image.shape
    for y in range(height):
        for x in range(width):
            green = image[y, x, 1]
            pixels[y, x, 0] = image[y, x, 0] - green
            pixels[y, x, 1] = green
            pixels[y, x, 2] = image[y, x, 2] - green
            pixels[y, x, 3] = image[y, x, 3] if channels == 4 else 255


@njit
def _choose_modes(pixels, modes, kinds):
    """Each tile's kind, and the predictor with the smallest sum of absolute residuals on every other row of it."""
    height, width, _ = pixels.shape
    words = pixels.reshape(-1).view(np.uint32).reshape(height, width)
    sums = np.empty(len(_MODES), np.int64)
    for row in range(modes.shape[0]):
        for column in range(modes.shape[1]):
            sums[:] = 0
            edge = False
            seen = 0
            for y in range(max(row * _TILE, 1), min(row * _TILE + _TILE, height)):
                for x in range(max(column * _TILE, 1), min(column * _TILE + _TILE, width)):
                    word = words[y, x]
                    if word == words[y, x - 1] and word == words[y - 1, x] and word == words[y - 1, x - 1]:
                        continue
                    edge |= (word ^ words[y, x - 1]) >> np.uint32(24) != 0
                    edge |= (word ^ words[y - 1, x]) >> np.uint32(24) != 0
                    if y % 2:
                        seen += 1
                        _add_costs(pixels[y, x], pixels[y, x - 1], pixels[y - 1, x], pixels[y - 1, x - 1], sums)
            best = sums.argmin()
            modes[row, column] = _MODES[best]
            kind = 0
            while kind < len(_CALM) and sums[best] > _CALM[kind] * seen:
                kind += 1
            kinds[row, column] = _KINDS - 1 if edge else kind


@njit(inline="always")
def _add_costs(pixel, left, top, corner, sums):
    to_left, to_top, by_left, by_top = 0, 0, 0, 0
    for c in range(4):
        value, a, b, k = int(pixel[c]), int(left[c]), int(top[c]), int(corner[c])
        to_left += abs(b - k)
        to_top += abs(a - k)
        by_left += abs(int(np.int8(value - a)))
        by_top += abs(int(np.int8(value - b)))
        sums[1] += abs(np.int8(value - min(max(a + b - k, 0), 255)))
        sums[4] += abs(np.int8(value - ((a + b) >> 1)))
    sums[0] += by_left if to_left < to_top else by_top
    sums[2] += by_left
    sums[3] += by_top


@njit
def _subtract_predictions(pixels, modes, residuals):
    height, width, _ = pixels.shape
    words = pixels.reshape(-1).view(np.uint32).reshape(height, width)
    for y in range(height):
        above = words[max(y - 1, 0)]
        # The borders have predictors of their own: the pixel above; the pixel before; opaque black.
        residuals[y, 0] = _minus(words[y, 0], above[0] if y > 0 else np.uint32(0xFF000000))
        for x in range(1, width):
            word, left, top, corner = words[y, x], words[y, x - 1], above[x], above[x - 1]
            if y == 0:
                residuals[y, x] = _minus(word, left)
            elif word == left and word == top and word == corner:
                residuals[y, x] = 0  # by every predictor
            else:
                residuals[y, x] = _minus(word, _predict(left, top, corner, modes[y >> _TILE_BITS, x >> _TILE_BITS]))


@njit(inline="always")
def _minus(word, other):
    """The differences of the four bytes, each modulo 256."""
    high = np.uint32(0x80808080)
    return np.uint32(((word | high) - (other & ~high)) ^ ((word ^ ~other) & high))


@njit(inline="always")
def _predict(left, top, corner, mode):
    if mode == _LEFT:
        return left
    if mode == _TOP:
        return top
    if mode == _AVERAGE:
        return np.uint32((((left ^ top) >> np.uint32(1)) & np.uint32(0x7F7F7F7F)) + (left & top))
    left, top, corner = np.int64(left), np.int64(top), np.int64(corner)
    to_left, to_top = 0, 0
    gradient = np.uint32(0)
    for shift in (0, 8, 16, 24):
        a, b, k = (left >> shift) & 255, (top >> shift) & 255, (corner >> shift) & 255
        to_left += abs(b - k)
        to_top += abs(a - k)
        gradient |= np.uint32(min(max(a + b - k, 0), 255) << shift)
    if mode == _GRADIENT:
        return gradient
    return np.uint32(left if to_left < to_top else top)


@njit
def _put_tiles(values, out, stream):
    """Writes one number a tile, as an image whose green they are."""
    pixels = np.zeros((values.shape[0], values.shape[1], 4), np.uint8)
    pixels[:, :, 1], pixels[:, :, 3] = values, 255
    put(out, stream, 0, 1)  # no colour cache
    _put_pixels(pixels, np.zeros((1, 1), np.uint8), 1, 0, out, stream)


@njit
def _put_pixels(pixels, kinds, num_kinds, cache_bits, out, stream):
    """Writes pixels `[h w 4]`: five prefix codes for every kind of tile, then literals, runs and cached pixels."""
    n = pixels.shape[0] * pixels.shape[1]
    symbols, places = np.empty(n, np.int64), np.empty(n, np.int64)
    counts = np.zeros((num_kinds, 5, _SYMBOLS), np.int64)
    count = _tokenise(pixels, kinds, cache_bits, symbols, places, counts)
    lengths, codes = np.zeros(counts.shape, np.int64), np.zeros(counts.shape, np.int64)
    first = _CACHED + (1 << cache_bits if cache_bits else 0)
    for kind in range(num_kinds):
        for role, size in enumerate((first, 256, 256, 256, _DISTANCES)):
            put_code(counts[kind, role, :size], out, stream, lengths[kind, role, :size], codes[kind, role, :size])
    flat = pixels.reshape(-1, 4)
    width = pixels.shape[1]
    for i in range(count):
        place, symbol = places[i], symbols[i]
        kind = kinds[place // width >> _TILE_BITS, place % width >> _TILE_BITS] if num_kinds > 1 else 0
        length, code = lengths[kind], codes[kind]
        if symbol >= _CACHED:
            put(out, stream, code[0, symbol], length[0, symbol])
        elif symbol >= _LENGTHS:
            end = places[i + 1] if i + 1 < count else n
            _, extra, bits = _run_prefix(end - place)
            put(out, stream, code[0, symbol], length[0, symbol])
            put(out, stream, extra, bits)
            put(out, stream, code[4, _LEFT_NEIGHBOUR], length[4, _LEFT_NEIGHBOUR])
        else:
            pixel = flat[place]
            word, bits = code[0, symbol], length[0, symbol]
            for role, channel in ((1, 0), (2, 2), (3, 3)):
                word |= code[role, pixel[channel]] << bits
                bits += length[role, pixel[channel]]
            put(out, stream, word, bits)


@njit
def _tokenise(pixels, kinds, cache_bits, symbols, places, counts):
    """Cuts the pixels into tokens: their first symbols and places; tallies all symbols, returns the tokens' number."""
    width = pixels.shape[1]
    words = pixels.reshape(-1).view(np.uint32)
    flat = pixels.reshape(-1, 4)
    n = len(words)
    cache = np.zeros(1 << cache_bits, np.uint32)
    count, at = 0, 0
    while at < n:
        kind = kinds[at // width >> _TILE_BITS, at % width >> _TILE_BITS] if len(counts) > 1 else 0
        word = words[at]
        run = 0
        while at > 0 and at + run < n and run < _MAX_RUN and words[at + run] == words[at - 1]:
            run += 1
        places[count] = at
        if run >= _MIN_RUN:
            symbols[count] = _LENGTHS + _run_prefix(run)[0]
            counts[kind, 4, _LEFT_NEIGHBOUR] += 1
            at += run
        else:
            symbols[count] = flat[at, 1]
            hit = False
            if cache_bits:
                low, high = word & np.uint32(0x00FF00FF), word & np.uint32(0xFF00FF00)
                argb = np.uint32(high | (low << np.uint32(16)) | (low >> np.uint32(16)))
                slot = np.int64(np.uint32(_CACHE_FACTOR * argb) >> np.uint32(32 - cache_bits))
                hit = cache[slot] == argb
                cache[slot] = argb
                if hit:
                    symbols[count] = _CACHED + slot
            if not hit:
                for role, channel in ((1, 0), (2, 2), (3, 3)):
                    counts[kind, role, flat[at, channel]] += 1
            at += 1
        counts[kind, 0, symbols[count]] += 1
        count += 1
    return count


@njit(inline="always")
def _run_prefix(run):
    """The prefix of a run's length, and the value and number of the bits that follow it."""
    value = run - 1
    if value < 4:
        return value, 0, 0
    highest = 2
    while value >> (highest + 1):
        highest += 1
    bits = highest - 1
    return 2 * highest + ((value >> bits) & 1), value & ((1 << bits) - 1), bits
