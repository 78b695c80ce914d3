"""The glTF 2.0 container: one .glb file of a JSON chunk and a binary chunk, its accessors and its nodes.

trimesh reads meshes from such files, but not the attributes of extensions, and writes neither; what splats need is
little. Source: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, sections 3.5, 3.6 and 4.4.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index as whole  # an int of an int, a TypeError for anything else
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from gsbench.geometry import quats_to_matrices
from gsbench.parsing import InputError, parse_json
from gsbench.types import Array

_HEADER = struct.Struct("<4sII")
_CHUNK = struct.Struct("<I4s")
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_ARRAY_BUFFER = 34962


@dataclass(frozen=True, slots=True)
class Document:
    """A .glb file: its JSON, and the bytes of its binary chunk."""

    json: dict[str, Any]
    binary: memoryview


def parse(data: bytes) -> Document:
    """Takes the bytes of a .glb file apart; InputError if they are none or end too early."""
    if len(data) < _HEADER.size or data[:4] != b"glTF":
        raise InputError("not a .glb file: it does not begin with glTF")
    _, version, size = _HEADER.unpack_from(data)
    if version != 2:
        raise InputError(f"glTF version {version} (allowed: 2)")
    if size > len(data):
        raise InputError(f"truncated: {size} bytes announced, {len(data)} are there")
    chunks: dict[bytes, memoryview] = {}
    position = _HEADER.size
    while position + _CHUNK.size <= size:
        length, kind = _CHUNK.unpack_from(data, position)
        position += _CHUNK.size
        if position + length > size:
            raise InputError(f"truncated: a chunk of {length} bytes announced, {size - position} are there")
        chunks.setdefault(kind, memoryview(data)[position : position + length])
        position += length
    try:
        document = parse_json(bytes(chunks.get(b"JSON", b"")))
    except InputError as error:
        raise InputError(f"its JSON chunk: {error}") from None
    if not isinstance(document, dict):
        raise InputError("its JSON chunk is no JSON object")
    return Document(document, chunks.get(b"BIN\0", memoryview(b"")))


def serialize(document: dict[str, Any], arrays: list[Array]) -> bytes:
    """The bytes of a .glb file: `document` with one buffer, and one view of it for each array, in their order."""
    views = []
    position = 0
    for array in arrays:
        assert array.nbytes % 4 == 0, "glTF aligns accessors to four bytes"
        views.append({"buffer": 0, "byteOffset": position, "byteLength": array.nbytes, "target": _ARRAY_BUFFER})
        position += array.nbytes
    document = {**document, "buffers": [{"byteLength": position}], "bufferViews": views}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = _HEADER.size + 2 * _CHUNK.size + len(text) + position
    if size >= 1 << 32:
        raise InputError(f"{size} bytes (a .glb file holds less than {1 << 32})")
    head = [_HEADER.pack(b"glTF", 2, size), _CHUNK.pack(len(text), b"JSON"), text, _CHUNK.pack(position, b"BIN\0")]
    return b"".join([*head, *(array.tobytes() for array in arrays)])


def accessor(array: Array, view: int) -> dict[str, Any]:
    """The accessor of a whole buffer view that holds `array`; bytes count as 0..1."""
    kind = {dtype: code for code, dtype in _COMPONENTS.items()}[array.dtype.str.lstrip("|")]
    shape = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[1 if array.ndim == 1 else array.shape[1]]
    normalized = {} if array.dtype.kind == "f" else {"normalized": True}
    return {"bufferView": view, "componentType": kind, "count": len(array), "type": shape, **normalized}


def read_accessor(document: Document, index: int) -> Float32[Array, "n c"]:
    """The values of an accessor as float32; InputError if it is sparse, matrices, or leaves its buffer."""
    one = document.json["accessors"][index]
    if "sparse" in one or "bufferView" not in one or one["type"] not in _WIDTHS or "uri" in document.json["buffers"][0]:
        raise InputError(f"accessor {index} is sparse, empty, of matrices or in another file (allowed: plain vectors)")
    view = document.json["bufferViews"][one["bufferView"]]
    dtype, width, count = np.dtype(_COMPONENTS[one["componentType"]]), _WIDTHS[one["type"]], whole(one["count"])
    stride = whole(view.get("byteStride", dtype.itemsize * width))
    start, inner = whole(view.get("byteOffset", 0)), whole(one.get("byteOffset", 0))
    end = inner + stride * (count - 1) + dtype.itemsize * width
    if min(start, inner, count - 1) < 0 or stride < dtype.itemsize * width or end > whole(view["byteLength"]):
        raise InputError(f"accessor {index} announces {count} values, more than its buffer view holds")
    if start + end > len(document.binary):
        raise InputError(f"truncated: accessor {index} ends at byte {start + end} of {len(document.binary)}")
    values = np.ndarray((count, width), dtype, document.binary, start + inner, (stride, dtype.itemsize))
    if not one.get("normalized", False) or dtype.kind == "f":
        return values.astype(np.float32)
    return np.maximum(values.astype(np.float32) / np.float32(np.iinfo(dtype).max), -1)


def meshes(document: Document) -> Iterator[tuple[int, Float64[Array, "4 4"]]]:
    """The index of each mesh in the default scene, with the matrix that its node and those above it make."""
    nodes = document.json.get("nodes", [])
    scenes = document.json.get("scenes")
    if scenes:
        roots = list(scenes[document.json.get("scene", 0)].get("nodes", []))
    else:
        children = {child for node in nodes for child in node.get("children", ())}
        roots = [index for index in range(len(nodes)) if index not in children]
    stack = [(whole(index), np.eye(4)) for index in reversed(roots)]
    seen = set()
    while stack:
        index, above = stack.pop()
        if index in seen:
            raise InputError(f"node {index} has two parents")
        seen.add(index)
        matrix = above @ _local_matrix(nodes[index])
        if "mesh" in nodes[index]:
            yield whole(nodes[index]["mesh"]), matrix
        stack += [(whole(child), matrix) for child in reversed(nodes[index].get("children", []))]


def _local_matrix(node: dict[str, Any]) -> Float64[Array, "4 4"]:
    if "matrix" in node:
        return _numbers(node["matrix"], 16).reshape(4, 4).T
    wxyz = np.roll(_numbers(node.get("rotation", (0, 0, 0, 1)), 4), 1)
    matrix = np.eye(4)
    matrix[:3, :3] = quats_to_matrices(wxyz[None])[0] * _numbers(node.get("scale", (1, 1, 1)), 3)
    matrix[:3, 3] = _numbers(node.get("translation", (0, 0, 0)), 3)
    return matrix


def _numbers(values: Sequence[float], count: int) -> Float64[Array, " n"]:
    if len(values) != count:
        raise TypeError(f"a node has {values} where {count} numbers are due")
    return np.array([float(value) for value in values])
