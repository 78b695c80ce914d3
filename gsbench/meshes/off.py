"""OFF files in every form found in the wild, read at the speed of one number parse over the whole file.

The format: the keyword (`OFF`, with the prefixes C, N and ST for per-vertex colours, normals and texture coordinates),
the counts of vertices, faces and (often left out) edges, one record a vertex, one record a face: its number of
corners, the corners, an optional colour. Whitespace is free; in ModelNet the counts may be glued to the keyword.
Source: the Geomview manual, "OFF", and the files of ModelNet.
"""

import os
import re
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from gsbench.parsing import InputError
from gsbench.results import write_atomic
from gsbench.types import Array, Mesh

_HEAD_BYTES = 4096
_KEYWORD = re.compile(rb"\s*(ST)?(C)?(N)?(4)?(n)?(?i:OFF)(?![A-Za-z_])")
_BINARY = re.compile(rb"[ \t]*BINARY", re.IGNORECASE)
# Numbers of a colour behind a face. RGBA (4) is left to the slower layouts: four numbers may be one more triangle.
_FACE_COLOUR_WIDTHS = (0, 1, 3)
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class NotFiniteError(InputError):
    """A mesh with a vertex that is infinite, not a number, or beyond float32."""


def load_off(path: str | os.PathLike[str]) -> Mesh:
    """Reads an OFF file; polygons are cut into fans, colours, normals and texture coordinates are dropped.

    Args:
        path: the file.

    Returns:
        The mesh in the file's own units and axes, with every vertex of the file, also those that no face uses.

    Raises:
        InputError: not an OFF file, binary, truncated, more records than announced, no vertices, no faces, a vertex
            that is not finite (`NotFiniteError`), a corner out of range. The message is one line and names the file.
        OSError: the file cannot be read.
    """
    try:
        return _parse(Path(path).read_bytes())
    except NotFiniteError as error:
        raise NotFiniteError(f"{path}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def has_glued_header(path: str | os.PathLike[str]) -> bool:
    """Whether the counts stand right behind the keyword (`OFF490 518 0`), which many OFF readers refuse.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    match = _KEYWORD.match(head)
    return match is not None and head[match.end() : match.end() + 1].isdigit()


def save_off(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Writes `mesh` as an OFF file, exact to float32 (`%.9g`); on failure `path` stays as it was.

    Raises:
        OSError: the file cannot be written.
    """
    lines = ["OFF", f"{len(mesh.vertices)} {len(mesh.faces)} 0"]
    lines += [f"{x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"3 {a} {b} {c}" for a, b, c in mesh.faces.tolist()]
    write_atomic(Path(path), ("\n".join(lines) + "\n").encode("ascii"))


def _parse(data: bytes) -> Mesh:
    has_normals, has_texture, body = _strip_keyword(data)
    num_vertices, num_faces, body = _read_counts(body)
    values = _parse_numbers(body)
    width = _vertex_width(body, 3 + 3 * has_normals + 2 * has_texture)
    if num_vertices * width > len(values):
        raise InputError(f"truncated: {num_vertices} vertices announced, {len(values) // width} found")
    vertices = values[: num_vertices * width].reshape(num_vertices, width)[:, :3]
    wrong = ~(np.abs(vertices) <= _MAX_FLOAT32).all(1)
    if wrong.any():
        raise NotFiniteError(f"vertex {wrong.argmax()} is not finite: {vertices[wrong.argmax()].tolist()}")
    records = values[num_vertices * width :]
    starts = _find_face_records(records, num_faces, body, num_vertices)
    faces = _fan(records, starts, num_vertices)
    return Mesh(vertices.astype(np.float32), faces)


def _strip_keyword(data: bytes) -> tuple[bool, bool, bytes]:
    """Returns whether vertices carry normals and texture coordinates, and what follows the keyword, comment-free."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"#" in data:
        data = re.sub(rb"#[^\r\n]*", b"", data)
    match = _KEYWORD.match(data)
    if match is None:
        raise InputError("not an OFF file: it must begin with OFF, COFF, NOFF, CNOFF, STOFF or a mix of those prefixes")
    if match[4] or match[5]:
        raise InputError("4OFF and nOFF (vertices that are not 3-D) are not supported, only 3-D vertices are")
    body = data[match.end() :]
    if _BINARY.match(body) or b"\0" in body:
        raise InputError("binary OFF is not supported, only text is")
    return match[3] is not None, match[1] is not None, body.replace(b"\r", b"\n").lstrip()


def _read_counts(body: bytes) -> tuple[int, int, bytes]:
    """Returns the numbers of vertices and faces and the text behind them; the edge count may be missing."""
    line, _, rest = body.partition(b"\n")
    tokens = line.split()
    if len(tokens) not in (2, 3):  # free form: the counts are the next three numbers, wherever the lines end
        tokens = body.split(None, 3)
        rest = tokens.pop() if len(tokens) == 4 else b""
    try:
        num_vertices, num_faces, *_ = (int(token) for token in tokens)
    except ValueError:
        found = repr(line[:40].decode("ascii", "replace")) if tokens else "the end of the file"
        raise InputError(f"the counts must be whole numbers (vertices faces edges), found {found}") from None
    if num_vertices < 1:
        raise InputError(f"no vertices ({num_vertices} announced)")
    if num_faces < 1:
        raise InputError(f"no faces ({num_faces} announced)")
    return num_vertices, num_faces, rest.lstrip()


def _parse_numbers(body: bytes) -> Float64[Array, " t"]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns when it stops early
        try:
            return np.fromstring(body.decode("latin-1"), dtype=np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            pass
    for token in body.split():
        try:
            float(token)
        except ValueError:
            shown = token[:20].decode("ascii", "replace")
            raise InputError(f"not a number: {shown!r}") from None
    raise InputError("not a list of numbers")


def _vertex_width(body: bytes, plain: int) -> int:
    """Numbers a vertex: as the first line has it if that makes sense (colours come with any header), else `plain`."""
    width = len(body.partition(b"\n")[0].split())
    return width if width in (plain, plain + 3, plain + 4) else plain


def _find_face_records(
    records: Float64[Array, " t"], num_faces: int, body: bytes, num_vertices: int
) -> Int64[Array, " f"]:
    """Returns where each face's record begins in `records`, by the first of three layouts that fits."""
    width, rest = divmod(len(records), num_faces)
    if width and not rest:
        corners = records[::width]
        if width - 1 - corners[0] in _FACE_COLOUR_WIDTHS and (corners == corners[0]).all():
            return np.arange(num_faces) * width
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    if len(lines) == num_vertices + num_faces:
        widths = np.array([len(line.split()) for line in lines[num_vertices:]])
        if widths.sum() == len(records):
            starts = np.cumsum(widths) - widths
            short = records[starts] > widths - 1
            if short.any():
                raise InputError(f"truncated: face {short.argmax()} lists fewer corners than it announces")
            return starts
    return _walk(records, num_faces)


def _walk(records: Float64[Array, " t"], num_faces: int) -> Int64[Array, " f"]:
    """Free form without colours: every record tells where the next begins."""
    starts = []
    position = 0
    corners = records.tolist()
    for face in range(num_faces):
        if position >= len(corners):
            raise InputError(f"truncated: {num_faces} faces announced, {face} found")
        starts.append(position)
        if not corners[position] >= 1 or corners[position] % 1:
            raise InputError(f"face {face} announces {corners[position]:g} corners")
        position += 1 + int(corners[position])
    if position > len(corners):
        raise InputError(f"truncated: face {num_faces - 1} lists fewer corners than it announces")
    if position < len(corners):
        raise InputError(f"{len(corners) - position} numbers follow the last of the {num_faces} faces announced")
    return np.array(starts, dtype=np.int64)


def _fan(records: Float64[Array, " t"], starts: Int64[Array, " f"], num_vertices: int) -> Array:
    """Returns the triangles `[t 3]` int32 of the polygons at `starts`, in the file's order; points and edges go."""
    corners = records[starts]
    wrong = ~(corners >= 1) | (corners % 1 != 0)
    if wrong.any():
        raise InputError(f"face {wrong.argmax()} announces {corners[wrong.argmax()]:g} corners")
    triangles = np.maximum(corners.astype(np.int64) - 2, 0)
    total = int(triangles.sum())
    if not total:
        raise InputError("no faces with three corners or more")
    face = np.repeat(np.arange(len(starts)), triangles)
    step = np.arange(total) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    first = starts[face] + 1
    picked = records[np.stack([first, first + step + 1, first + step + 2], 1)]
    wrong = ~((picked >= 0) & (picked < num_vertices) & (picked % 1 == 0))
    if wrong.any():
        row = wrong.any(1).argmax()
        index = picked[row][wrong[row]][0]
        raise InputError(f"face {face[row]} uses vertex {index:g}, allowed are 0 to {num_vertices - 1}")
    return picked.astype(np.int32)
