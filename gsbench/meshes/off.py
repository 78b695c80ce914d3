"""OFF files in every form found in the wild, read at the speed of one number parse over the whole file.

The format: the keyword (`OFF`, with the prefixes C, N and ST for per-vertex colors, normals and texture coordinates),
the counts of vertices, faces and (often left out) edges, one record a vertex, one record a face: its number of
corners, the corners, an optional color. A line holds whole records, one or more; in ModelNet the counts may be glued
to the keyword, and MeshLab writes the prefixes in an order of its own. `#` at the start of a word begins a comment.
trimesh reads well-formed files too; of one that is cut short, or has two records on a line, it makes another mesh
without a word. Source: the Geomview manual, "OFF", and the files of ModelNet.
"""

import itertools
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from gsbench.core.files import read_bytes, write_atomic
from gsbench.core.parsing import InputError, shown
from gsbench.core.types import Array, Mesh

MAX_MESH_BYTES = 1_000_000_000
"""Largest mesh file that is read. OFF takes six times its size of memory: 10 million faces (400 MB) take 2.3 GB."""

_HEAD_BYTES = 4096
_KEYWORD, _PREFIX = re.compile(rb"\s*((?:ST|C|N|4|n){0,5})(?i:OFF)(?![A-Za-z_])"), re.compile(rb"ST|C|N|4|n")
_COMMENT = re.compile(rb"(?<!\S)#[^\n]*")
_MSVC_NAN = re.compile(rb"(?<!\S)[-+]?1\.#\w+(?!\S)")  # as Microsoft's C writes what is not finite, such as -1.#IND
_NUMBER = rb"[-+]?(?:\d++\.?\d*+(?:[eE][-+]?\d++)?|\.\d++(?:[eE][-+]?\d++)?|(?i:nan(?:\(\w*+\))?|inf(?:inity)?))"
_NO_NUMBER = re.compile(rb"(?<!\S)(?!" + _NUMBER + rb"(?!\S))\S+")
_WORD, _COUNT = re.compile(rb"\S+"), re.compile(rb"[-+]?\d{1,18}")
_CHUNK_BYTES = 1 << 22
_BINARY = re.compile(rb"[ \t]*BINARY", re.IGNORECASE)
# Numbers of a color behind a face. RGBA (4) is left to the slower layouts: four numbers may be one more triangle.
_FACE_COLOR_WIDTHS, _MAX_FLOAT32 = (0, 1, 3), float(np.finfo(np.float32).max)


class NotFiniteError(InputError):
    """A mesh with a vertex that is infinite, not a number, or beyond float32."""


def load_off(path: str | os.PathLike[str]) -> Mesh:
    """Reads an OFF file; polygons are cut into fans, colors, normals and texture coordinates are dropped.

    Args:
        path: the file.

    Returns:
        The mesh in the file's own units and axes, with every vertex of the file, also those that no face uses.

    Raises:
        InputError: not an OFF file, of more than `MAX_MESH_BYTES`, binary, truncated, more records than announced, a
            line that ends within a record, no vertices, no faces, a vertex that is not finite (`NotFiniteError`), a
            corner out of range. The message is one line and names the file.
        OSError: the file cannot be read.
    """
    data = read_bytes(path, MAX_MESH_BYTES)
    try:
        return _parse(data)
    except NotFiniteError as error:
        raise NotFiniteError(f"{path}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise InputError(f"{path}: its {len(data)} bytes take more memory than there is") from None


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
    plain, text, position = _strip_keyword(data)
    del data
    num_vertices, num_faces, position = _read_counts(text, position)
    first_line, body = text.count(b"\n", 0, position) + 1, text[position:]
    del text
    ends = _words_by_line(body)
    values = _parse_numbers(body, int(ends[-1]), first_line)
    del body
    on_first = int(ends[(ends > 0).argmax()])
    errors = []
    for width in _vertex_widths(on_first, plain):
        try:
            return _assemble(values, ends, (num_vertices, num_faces, width), first_line)
        except NotFiniteError:
            raise
        except InputError as error:
            errors.append(error)
    raise errors[0]


def _assemble(
    values: Float64[Array, " t"], ends: Int64[Array, " l"], counts: tuple[int, int, int], first_line: int
) -> Mesh:
    """The mesh, if a vertex has as many numbers as `counts` (vertices, faces, numbers a vertex) says."""
    num_vertices, num_faces, width = counts
    size = num_vertices * width
    among = ends[:-1][ends[:-1] < size]  # the last line may be cut off: then it is the file that is too short
    if (among % width).any():
        line = int((among % width > 0).argmax())
        found = among[line] - (among[line - 1] if line else 0)
        raise InputError(
            f"line {first_line + line} has {found} numbers (allowed: {width} for a vertex, or a multiple of that)"
        )
    if size > len(values):
        raise InputError(f"truncated: {num_vertices} vertices announced, {len(values) // width} found")
    vertices = values[:size].reshape(num_vertices, width)[:, :3]
    records = values[size:]
    within = ends > size
    starts = _find_face_records(records, num_faces, ends[within] - size, first_line + int(within.argmax()))
    faces = _fan(records, starts, num_vertices)
    wrong = ~(np.abs(vertices) <= _MAX_FLOAT32).all(1)
    if wrong.any():
        raise NotFiniteError(f"vertex {wrong.argmax()} is not finite: {vertices[wrong.argmax()].tolist()}")
    return Mesh(vertices.astype(np.float32), faces)


def _strip_keyword(data: bytes) -> tuple[int, bytes, int]:
    """Returns the numbers of a vertex without a color, the text free of comments, and where its keyword ends."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"#" in data:
        data = b"".join(_COMMENT.sub(b"", data[start:stop]) for start, stop in _chunks(data))
    match = _KEYWORD.match(data)
    prefixes = _PREFIX.findall(match[1]) if match else []
    if match is None or len(set(prefixes)) < len(prefixes):
        raise InputError("not an OFF file: it must begin with OFF, COFF, NOFF, STOFF or a mix of those prefixes")
    if b"4" in prefixes or b"n" in prefixes:
        raise InputError("4OFF and nOFF (vertices that are not 3-D) are not supported, only 3-D vertices are")
    if _BINARY.match(data, match.end()) or b"\0" in data:
        raise InputError("binary OFF is not supported, only text is")
    return 3 + 3 * (b"N" in prefixes) + 2 * (b"ST" in prefixes), data, match.end()


def _read_counts(text: bytes, start: int) -> tuple[int, int, int]:
    """Returns the numbers of vertices and faces, and where the line behind them begins; edges may be missing."""
    words = list(itertools.islice(_WORD.finditer(text, start), 4))
    line_end = text.find(b"\n", words[0].end()) if words else -1
    on_line = [word for word in words if line_end < 0 or word.start() < line_end]
    counts = on_line if len(on_line) in (2, 3) else words[:3]  # free form: the next three, wherever the lines end
    if len(counts) < 2 or not all(_COUNT.fullmatch(word[0]) for word in counts):
        found = shown(text[words[0].start() :][:40].split(b"\n")[0].decode("ascii", "replace")) if words else ""
        raise InputError(
            f"the counts must be whole numbers (vertices faces edges), found {found or 'the end of the file'}"
        )
    num_vertices, num_faces = int(counts[0][0]), int(counts[1][0])
    if num_vertices < 1:
        raise InputError(f"no vertices ({num_vertices} announced)")
    if num_faces < 1:
        raise InputError(f"no faces ({num_faces} announced)")
    return num_vertices, num_faces, counts[-1].end()


def _chunks(text: bytes) -> Iterator[tuple[int, int]]:
    """Where parts of whole lines begin and end: work on all at once would take many times the memory of the text."""
    start = 0
    while start < len(text):
        stop = text.find(b"\n", start + _CHUNK_BYTES) + 1 or len(text)
        yield start, stop
        start = stop


def _words_by_line(body: bytes) -> Int64[Array, " l"]:
    """How many words there are up to the end of each line; the last line need not end."""
    parts, total = [], 0
    for start, stop in _chunks(body):
        codes = np.frombuffer(body, np.uint8, stop - start, start)
        blank = codes <= ord(" ")
        begins = ~blank
        begins[1:] &= blank[:-1]
        words = np.flatnonzero(begins)
        parts.append(total + np.searchsorted(words, np.flatnonzero(codes == ord("\n"))))
        total += len(words)
    return np.concatenate([*parts, np.array([total])])


def _parse_numbers(body: bytes, count: int, first_line: int) -> Float64[Array, " t"]:
    """The `count` words of `body` as numbers."""
    if b".#" in body:
        body = _MSVC_NAN.sub(b"nan", body)
    if not count:
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns when it stops early
        try:
            values = np.fromstring(body, dtype=np.float64, sep=" ")
            if len(values) == count:  # numpy takes 1.5.3 for two
                return values
        except (DeprecationWarning, ValueError):
            pass
    wrong = _NO_NUMBER.search(body)
    assert wrong is not None, "what numpy does not read is no number"
    line = first_line + body.count(b"\n", 0, wrong.start())
    raise InputError(f"line {line}: not a number: {shown(wrong[0][:20].decode('ascii', 'replace'))}")


def _vertex_widths(on_first: int, plain: int) -> list[int]:
    """Numbers a vertex, likeliest first: all on the first line, else `plain`; colors come with any keyword.

    Six may be a vertex with a color or two without: the lines and faces that follow tell.
    """
    widths = [plain, plain + 3, plain + 4]
    return sorted(widths, key=lambda width: width != on_first)


def _find_face_records(
    records: Float64[Array, " t"], num_faces: int, ends: Int64[Array, " l"], first_line: int
) -> Int64[Array, " f"]:
    """Where each face's record begins in `records`, whose lines end at `ends`: by the first of three layouts that fits.

    They are one width for all, a face a line with whatever color, and several faces a line without colors.
    """
    width, rest = divmod(len(records), num_faces)
    if width and not rest and not (ends % width).any():
        corners = records[::width]
        if width - 1 - corners[0] in _FACE_COLOR_WIDTHS and (corners == corners[0]).all():
            return np.arange(num_faces) * width
    widths = np.diff(ends, prepend=0)
    lines = np.flatnonzero(widths)
    if len(lines) == num_faces:
        starts = ends[lines] - widths[lines]
        short = records[starts] > widths[lines] - 1
        if short.any():
            face = short.argmax()
            line = first_line + lines[face]
            raise InputError(f"truncated: face {face} (line {line}) lists fewer corners than it announces")
        return starts
    starts = _walk(records, num_faces)
    within = ~np.isin(ends, starts) & (ends < len(records))
    if within.any():
        raise InputError(f"line {first_line + within.argmax()} ends within a face (allowed: whole faces, one or more)")
    return starts


def _walk(records: Float64[Array, " t"], num_faces: int) -> Int64[Array, " f"]:
    """Free form without colors: every record tells where the next begins."""
    starts = np.empty(min(num_faces, len(records)), np.int64)
    position = 0
    for face in range(num_faces):
        if position >= len(records):
            raise InputError(f"truncated: {num_faces} faces announced, {face} found")
        starts[face] = position
        corners = float(records[position])
        if not corners >= 1 or corners % 1:
            raise InputError(f"face {face} announces {corners:g} corners")
        position += 1 + int(corners)
    if position > len(records):
        raise InputError(f"truncated: face {num_faces - 1} lists fewer corners than it announces")
    if position < len(records):
        raise InputError(f"{len(records) - position} numbers follow the last of the {num_faces} faces announced")
    return starts


def _fan(records: Float64[Array, " t"], starts: Int64[Array, " f"], num_vertices: int) -> Array:
    """Returns the triangles `[t 3]` int32 of the polygons at `starts`, in the file's order; points and edges go."""
    corners = records[starts]
    with np.errstate(invalid="ignore"):  # of an infinite number of corners
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
    with np.errstate(invalid="ignore"):
        wrong = ~((picked >= 0) & (picked < num_vertices) & (picked % 1 == 0))
    if wrong.any():
        row = wrong.any(1).argmax()
        index = picked[row][wrong[row]][0]
        raise InputError(f"face {face[row]} uses vertex {index:g}, allowed are 0 to {num_vertices - 1}")
    return picked.astype(np.int32)
