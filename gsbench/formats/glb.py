"""The glTF 2.0 container: one .glb file of a JSON chunk and a binary chunk, its accessors and its nodes.

trimesh reads meshes from such files, but not the attributes of extensions, and writes neither; pygltflib gives the JSON
as classes, without arrays or checks. What splats need is little.
Source: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html, sections 3.5, 3.6 and 4.4.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index as whole  # an int of an int, a TypeError for anything else
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from gsbench.core.files import parse_json
from gsbench.core.geometry import quats_to_matrices
from gsbench.core.parsing import InputError
from gsbench.core.types import Array

_HEADER = struct.Struct("<4sII")
_CHUNK = struct.Struct("<I4s")
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_ARRAY_BUFFER = 34962
_MAX_REASON = 200  # characters
_MAX_MESHES = 10_000  # that nodes draw
_MAX_VALUES = 20_000_000  # that they draw together, or as many as the binary chunk has bytes


MALFORMED = (KeyError, IndexError, TypeError, AttributeError, OverflowError)
"""What reading JSON raises that is not laid out as glTF is."""


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


def check_sizes(document: Document) -> None:
    """Raises an InputError where the file would become far more than it is: by views of the same bytes, or many nodes.

    Also where it is not valid glTF as far as that takes looking.
    """
    try:
        most = max(_MAX_VALUES, len(document.binary))
        views = sum(_size(view["byteLength"]) for view in document.json.get("bufferViews", ()))
        accessors = document.json.get("accessors", ())
        values = sum(_size(one["count"]) for one in accessors)
        for name, count, unit in (("buffer views", views, "bytes"), ("accessors", values, "values")):
            if count > 4 * most:
                raise InputError(f"its {name} announce {count} {unit} (at most {4 * most} are read)")
        sizes = [
            sum(_size(item(accessors, index)["count"]) for one in mesh["primitives"] for index in _used_by(one))
            for mesh in document.json.get("meshes", ())
        ]
        drawn = [item(sizes, node["mesh"]) for _, _, node in _nodes(document) if "mesh" in node]
    except MALFORMED as error:
        raise malformed(error) from None
    if len(drawn) > _MAX_MESHES:
        raise InputError(f"its nodes draw {len(drawn)} meshes (at most {_MAX_MESHES} are read)")
    if (total := max(sum(sizes), sum(drawn))) > most:
        raise InputError(f"its meshes and nodes draw {total} values (at most {most} are read)")


def malformed(error: Exception) -> InputError:
    """The InputError for one of `MALFORMED`."""
    return InputError(f"not valid glTF: {type(error).__name__} {' '.join(str(error).split())[:_MAX_REASON]}")


def _used_by(primitive: dict[str, Any]) -> list[int]:
    """The accessors of a primitive."""
    return [*primitive["attributes"].values(), *([primitive["indices"]] if "indices" in primitive else [])]


def _size(value: Any) -> int:
    """A size or count; TypeError if it is none."""
    if whole(value) < 0:
        raise TypeError(f"{value} where none below 0 is due")
    return whole(value)


def item(values: Any, index: Any) -> Any:
    """The item that JSON refers to; IndexError or TypeError if there is none, as for -1, which Python would take."""
    return values[_size(index)]


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
    one = item(document.json["accessors"], index)
    view: dict[str, Any] = item(document.json["bufferViews"], one["bufferView"]) if "bufferView" in one else {}
    elsewhere = view.get("buffer") != 0 or "uri" in document.json["buffers"][0]
    if "sparse" in one or one["type"] not in _WIDTHS or elsewhere:
        raise InputError(f"accessor {index} is sparse, empty, of matrices or in another file (allowed: plain vectors)")
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
    matrices: dict[int | None, Float64[Array, "4 4"]] = {None: np.eye(4)}
    for index, parent, node in _nodes(document):
        matrices[index] = matrices[parent] @ _local_matrix(node)
        if "mesh" in node:
            yield _size(node["mesh"]), matrices[index]


def _nodes(document: Document) -> Iterator[tuple[int, int | None, dict[str, Any]]]:
    """The nodes of the default scene, parents first: each one's index, that of its parent, and itself."""
    nodes = document.json.get("nodes", [])
    scenes = document.json.get("scenes")
    if scenes:
        roots = list(item(scenes, document.json.get("scene", 0)).get("nodes", []))
    else:
        children = {child for node in nodes for child in node.get("children", ())}
        roots = [index for index in range(len(nodes)) if index not in children]
    stack: list[tuple[int, int | None]] = [(_size(index), None) for index in reversed(roots)]
    seen = set()
    while stack:
        index, parent = stack.pop()
        if index in seen:
            raise InputError(f"node {index} has two parents")
        seen.add(index)
        node = item(nodes, index)
        yield index, parent, node
        stack += [(_size(child), index) for child in reversed(node.get("children", []))]


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
