"""Prefix codes and a bit stream for the WebP encoder (RFC 9649, section 3.7), least significant bit first."""

import numpy as np
from numba import njit

MAX_LENGTH = 14  # of a code, in bits: four of them fit the bit stream's word beside a byte that is not yet whole
_LENGTHS_ALPHABET = 19
_MAX_LENGTH_OF_LENGTHS = 7
# The order in which the lengths of the lengths' own code are written.
_ORDER = np.array([17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])


@njit(inline="always")
def put(out, stream, value, bits):
    """Appends the low `bits` (up to 56) of `value`; `stream` holds the bits not yet written, their number, the end."""
    word = stream[0] | (np.uint64(value) << np.uint64(stream[1]))
    count, at = np.int64(stream[1]) + bits, np.int64(stream[2])
    while count >= 8:
        out[at] = word & np.uint64(255)
        word >>= np.uint64(8)
        count -= 8
        at += 1
    stream[0], stream[1], stream[2] = word, np.uint64(count), np.uint64(at)


@njit
def code_lengths(counts, limit, lengths):
    """Fills `lengths` with those of a Huffman code of at most `limit` bits; unused symbols get 0, a lone one 1."""
    lengths[:] = 0
    used = np.flatnonzero(counts)
    if len(used) < 2:
        lengths[used] = 1
        return
    floor = 1
    while True:  # rare symbols count as more frequent until the tree is shallow enough
        weights = np.maximum(counts[used], floor)
        depths = _tree_depths(weights)
        if depths.max() <= limit:
            lengths[used] = depths
            return
        floor *= 2


@njit
def _tree_depths(weights):
    """Depths of the leaves of a Huffman tree, by merging from two sorted queues: leaves and inner nodes."""
    n = len(weights)
    order = np.argsort(weights, kind="mergesort")
    weight, parent = np.empty(2 * n - 1, np.int64), np.zeros(2 * n - 1, np.int64)
    weight[:n] = weights[order]
    leaf, inner = 0, n
    for node in range(n, 2 * n - 1):
        total = 0
        for _ in range(2):
            if inner >= node or (leaf < n and weight[leaf] <= weight[inner]):
                child, leaf = leaf, leaf + 1
            else:
                child, inner = inner, inner + 1
            total += weight[child]
            parent[child] = node
        weight[node] = total
    depth = np.zeros(2 * n - 1, np.int64)
    for node in range(2 * n - 3, -1, -1):
        depth[node] = depth[parent[node]] + 1
    depths = np.empty(n, np.int64)
    depths[order] = depth[:n]
    return depths


@njit
def canonical_codes(lengths, codes):
    """Fills `codes` with the canonical code of the lengths, each reversed, as the stream wants it."""
    code = 0
    for length in range(1, MAX_LENGTH + 1):
        for symbol in range(len(lengths)):
            if lengths[symbol] == length:
                flipped = 0
                for bit in range(length):
                    flipped |= ((code >> bit) & 1) << (length - 1 - bit)
                codes[symbol] = flipped
                code += 1
        code <<= 1


@njit
def put_code(counts, out, stream, lengths, codes):
    """Makes the code of `counts`, writes it, and leaves in `lengths` and `codes` what symbols are written with."""
    codes[:] = 0
    used = np.flatnonzero(counts)
    if len(used) == 0 or (len(used) <= 2 and used[-1] < 256):
        lengths[:] = 0
        put(out, stream, 1, 1)  # a simple code: its one or two symbols are written out
        put(out, stream, max(len(used) - 1, 0), 1)
        put(out, stream, 1, 1)
        put(out, stream, used[0] if len(used) else 0, 8)
        if len(used) == 2:
            put(out, stream, used[1], 8)
            lengths[used] = 1
            codes[used[1]] = 1
        return
    code_lengths(counts, MAX_LENGTH, lengths)
    canonical_codes(lengths, codes)
    put(out, stream, 0, 1)
    _put_lengths(lengths, out, stream)
    if len(used) == 1:
        lengths[:] = 0  # a lone symbol takes no bits


@njit
def _put_lengths(lengths, out, stream):
    """Writes code lengths in a code of their own, runs of zeros shortened."""
    symbols, extras = np.empty(len(lengths), np.int64), np.empty(len(lengths), np.int64)
    count, at = 0, 0
    while at < len(lengths):
        run = 0
        while lengths[at] == 0 and at + run < len(lengths) and lengths[at + run] == 0 and run < 138:
            run += 1
        if run >= 11:
            symbols[count], extras[count] = 18, run - 11
        elif run >= 3:
            symbols[count], extras[count] = 17, run - 3
        else:
            symbols[count], extras[count], run = lengths[at], 0, 1
        count += 1
        at += run
    histogram = np.zeros(_LENGTHS_ALPHABET, np.int64)
    for i in range(count):
        histogram[symbols[i]] += 1
    own, codes = np.empty(_LENGTHS_ALPHABET, np.int64), np.zeros(_LENGTHS_ALPHABET, np.int64)
    code_lengths(histogram, _MAX_LENGTH_OF_LENGTHS, own)
    canonical_codes(own, codes)
    put(out, stream, _LENGTHS_ALPHABET - 4, 4)
    for symbol in _ORDER:
        put(out, stream, own[symbol], 3)
    put(out, stream, 0, 1)  # all lengths follow
    lone = np.count_nonzero(histogram) == 1
    for i in range(count):
        put(out, stream, codes[symbols[i]], 0 if lone else own[symbols[i]])
        if symbols[i] >= 17:
            put(out, stream, extras[i], 3 if symbols[i] == 17 else 7)
