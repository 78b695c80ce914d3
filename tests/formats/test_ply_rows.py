"""PLY headers and rows: every way to be wrong, before memory is asked for."""

from pathlib import Path

import pytest

from gsbench.formats import load_splats

HEAD = "ply\nformat binary_little_endian 1.0\n"
NEEDED = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2")
NEEDED += ("rot_0", "rot_1", "rot_2", "rot_3")
PROPERTIES = "".join(f"property float {name}\n" for name in NEEDED)
WRONG = {
    "empty": ("", "not a PLY file"),
    "another format": ("OFF\n1 2 3\n", "not a PLY file"),
    "no end": (HEAD + "element vertex 1\n", "the header has no end"),
    "no format": ("ply\nelement vertex 1\nend_header\n", "names no format"),
    "unknown format": ("ply\nformat binary_middle_endian 1.0\nend_header\n", "'format binary_middle_endian 1.0' makes"),
    "unknown type": (HEAD + "element vertex 1\nproperty half x\nend_header\n", "'property half x' makes no sense"),
    "property first": (HEAD + "property float x\nend_header\n", "'property float x' makes no sense"),
    "negative count": (HEAD + "element vertex -1\nend_header\n", "'element vertex -1' makes no sense"),
    "two of a name": (HEAD + "element vertex 0\nproperty float x\nproperty int x\nend_header\n", "two properties 'x'"),
    "no vertices": (HEAD + "element face 0\nproperty float x\nend_header\n", "no element 'vertex' .it has: face"),
    "ten billion": (HEAD + f"element vertex 10000000000\n{PROPERTIES}end_header\n", "truncated: 10000000000 rows"),
    "ten billion lists": (
        HEAD + f"element vertex 10000000000\nproperty list int int a\n{PROPERTIES}end_header\n",
        "truncated: 10000000000 rows",
    ),
    "ten billion in text": (
        f"ply\nformat ascii 1.0\nelement vertex 10000000000\n{PROPERTIES}end_header\n1 2 3\n",
        "truncated: 10000000000 rows",
    ),
    "ten billion before": (
        HEAD + f"element face 10000000000\nproperty int a\nelement vertex 1\n{PROPERTIES}end_header\n",
        "truncated: 10000000000 rows of element 'face'",
    ),
    "text that ends early": (
        f"ply\nformat ascii 1.0\nelement vertex 2\n{PROPERTIES}end_header\n" + "1.5 " * 20,
        "truncated: 2 rows of element 'vertex' announced: 28 values, 20 are there",
    ),
    "text without the numbers": (
        f"ply\nformat ascii 1.0\nelement vertex 2\n{PROPERTIES}end_header\n" + "1 " * 20 + "one two three four five",
        "its text holds something that is no number",
    ),
    "list without an end": (
        HEAD + f"element face 1\nproperty list uchar int a\nelement vertex 0\n{PROPERTIES}end_header\n\xff\0\0\0",
        "the file ends in row 0",
    ),
    "an endless list": (
        "ply\nformat ascii 1.0\nelement face 1\nproperty list uchar int a\nelement vertex 0\n"
        + f"{PROPERTIES}end_header\ninf 1",
        "a list 'a' announces inf values",
    ),
    "a list of floats' length": (
        HEAD + f"element face 1\nproperty list float int a\nelement vertex 0\n{PROPERTIES}end_header\n\0\0\x80\x7f\0",
        "a list 'a' announces inf values",
    ),
    "rows of nothing": (HEAD + "element vertex 4000000000\nend_header\n", "element 'vertex' has 0 properties"),
    "rows of nothing before": (
        HEAD + f"element face 4000000000\nelement vertex 1\n{PROPERTIES}end_header\n" + "\0" * 56,
        "element 'face' has 0 properties .allowed: 1 to 1000",
    ),
    "counts of 5,000 digits": (HEAD + f"element vertex {'9' * 5000}\nend_header\n", "header line 'element vertex 999"),
    "rows of empty lists": (
        HEAD + f"element face 2000001\nproperty list uchar int a\nelement vertex 0\n{PROPERTIES}end_header\n"
        + "\0" * 2000001,
        "2000001 rows of lists in element 'face' .at most 2000000 are read",
    ),
    "two numbers in a word": (
        f"ply\nformat ascii 1.0\nelement vertex 1\n{PROPERTIES}end_header\n" + "1 " * 12 + "1.5.3",
        "its text holds something that is no number",
    ),
    "negative list": (
        HEAD + f"element face 1\nproperty list char int a\nelement vertex 0\n{PROPERTIES}end_header\n\xff\0\0\0",
        "a list 'a' announces -1 values",
    ),
    "no Gaussians": (HEAD + f"element vertex 0\n{PROPERTIES}end_header\n", "no Gaussians"),
    "no opacity": (
        HEAD + f"element vertex 0\n{PROPERTIES.replace('opacity', 'alpha')}end_header\n",
        "not 3D Gaussians: element vertex has no opacity",
    ),
    "a point cloud": (
        HEAD + "element vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n",
        "not 3D Gaussians: element vertex has no f_dc_0, f_dc_1, f_dc_2, opacity, scale_0, ...",
    ),
    "compressed": (HEAD + "element vertex 0\nproperty uint packed_position\nend_header\n", "a compressed PLY"),
    "SH of no degree": (
        HEAD + f"element vertex 0\n{PROPERTIES}property float f_rest_0\nend_header\n",
        "1 properties f_rest_.* .allowed: 0, 9, 24, 45",
    ),
    "SH with a gap": (
        HEAD
        + f"element vertex 0\n{PROPERTIES}"
        + "".join(f"property float f_rest_{i}\n" for i in (*range(8), 9))
        + "end_header\n",
        "9 properties f_rest_",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_refuses_in_one_line_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.ply"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message) as caught:
        load_splats(path, notify=lambda note: None)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
