"""The columns of every config: the only list of them. Arrow schemas and `datasets.Features` are made from it.

An array of shape (n, 3) is a `datasets` Array2D, stored as lists of lists that any Parquet reader understands; the
`huggingface` key of the schema tells `datasets` to hand it out as a numpy array. Values inside arrays are never null,
which spares readers a validity bit a number.
"""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from gsbench.core.parsing import InputError, shown, suggest

if TYPE_CHECKING:
    import datasets

SPLITS = ("train", "test")

CAMERAS = ("train", "novel")
"""Where the cameras of reconstructions are: on the rig, or between two of it."""

IMAGE_CONFIGS = ("views", "reconstructions")
"""Configs with a row an image; the others have one an object."""

MAX_FPS_ORDER = 4096
"""Longest stored furthest-point order."""


FloatType = Literal["float32", "float16"]
"""What the numbers of Gaussians are stored as."""

Dim = int | Literal["k"] | None
"""A dimension: fixed, the number of SH coefficients of the data set, or free."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a config.

    Attributes:
        name: as the shard has it.
        dtype: of its values; `label` is a class index, `image` an encoded image, `gaussian` a float of the type that
            the data set stores Gaussians in.
        shape: `()` for one value a row, `(None,)` for a list, more for an array.
        about: one line for the data card.
        nullable: whether a row may lack it.
        of_set: whether it follows from the data set as a whole, and not from the object alone.
    """

    name: str
    dtype: Literal["string", "label", "int32", "float32", "gaussian", "image"]
    shape: tuple[Dim, ...]
    about: str
    nullable: bool = False
    of_set: bool = False


_OBJECT = (
    Column("object_id", "string", (), "the mesh file's name without its suffix; rows are sorted by it"),
    Column("label", "label", (), "class index, in alphabetical order of the names", of_set=True),
)

_CAMERA = (
    Column("viewmat", "float32", (4, 4), "world-to-camera, OpenCV axes (x right, y down, z forward)"),
    Column("K", "float32", (3, 3), "intrinsics in pixels; the first pixel's center is (.5, .5)"),
)

CONFIGS: dict[str, tuple[Column, ...]] = {
    "gaussians": (
        *_OBJECT,
        Column("num_gaussians", "int32", (), "number n of Gaussians"),
        Column("means", "gaussian", (None, 3), "centers, world frame"),
        Column("quats", "gaussian", (None, 4), "unit quaternions, wxyz"),
        Column("scales", "gaussian", (None, 3), "standard deviations along the rotated axes, linear"),
        Column("opacities", "gaussian", (None,), "0..1, linear"),
        Column("sh", "gaussian", (None, "k", 3), "spherical harmonics; rgb = .28209479 * sh[:, 0] + .5"),
        Column("fps_order", "int32", (None,), f"first min(n, {MAX_FPS_ORDER}) of a furthest-point order of the means"),
        Column("psnr", "float32", (), "of the Gaussians on held-out views, dB"),
        Column("ssim", "float32", (), "of the Gaussians on held-out views"),
        Column("mesh_sha256", "string", (), "of the mesh file", of_set=True),
        Column("duplicate_of", "string", (), "first object made from an identical file, or null", True, of_set=True),
        Column("regime_draws", "string", (None,), "regime/draw pairs whose training set holds the object", of_set=True),
    ),
    "points": (
        *_OBJECT,
        Column("points", "float32", (None, 3), "area-weighted surface samples in furthest-point order, world frame"),
        # Null where the data set was made from bare point clouds: a made-up normal would be worse than none.
        Column("normals", "float32", (None, 3), "unit normals of the points, or null", nullable=True),
    ),
    "views": (
        *_OBJECT,
        Column("view", "int32", (), "index on the camera rig"),
        Column("image", "image", (), "lossless WebP, sRGB with straight alpha"),
        *_CAMERA,
    ),
    "reconstructions": (
        *_OBJECT,
        Column("view", "int32", (), "index on the camera rig; novel cameras are counted on behind its last"),
        Column("cameras", "string", (), "train: of the rig, as in `views`; novel: between two of the rig"),
        Column("image", "image", (), "the Gaussians over white, lossless WebP, sRGB"),
        *_CAMERA,
        Column("psnr", "float32", (), "of the image against the mesh's from the same camera over white, dB"),
    ),
}

GAUSSIAN_COLUMNS = tuple(column.name for column in CONFIGS["gaussians"] if column.dtype == "gaussian")
"""Columns of config `gaussians` that hold the fields of `Gaussians`, in their order."""

SHARD = re.compile(rf"({'|'.join(CONFIGS)})/({'|'.join(SPLITS)})-([0-9]{{5}})-of-([0-9]{{5}})\.parquet")
"""The path of a shard in its data folder: config, split, number and how many there are."""


def shard_name(config: str, split: str, index: int, count: int) -> str:
    """The path of a shard in its data folder."""
    return f"{config}/{split}-{index:05d}-of-{count:05d}.parquet"


def in_one_line(text: str) -> str:
    """The text in one line; what cannot be shown stands as Python writes it."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of one config of one data set.

    Attributes:
        config: a key of `CONFIGS`.
        classes: class names, in alphabetical order.
        sh_coefficients: coefficients a channel of the data set's Gaussians; 1 where it has none.
        float_type: of the data set's Gaussians.
    """

    config: str
    classes: tuple[str, ...]
    sh_coefficients: int = 1
    float_type: FloatType = "float32"

    def __post_init__(self) -> None:
        if self.config not in CONFIGS:
            close = suggest(self.config, CONFIGS)
            raise InputError(f"config: no {shown(self.config)}{close} (allowed: {', '.join(CONFIGS)})")
        if list(self.classes) != sorted(set(self.classes)):
            raise InputError(f"classes: {list(self.classes)} (must be distinct and in alphabetical order)")
        if self.sh_coefficients not in (1, 4, 9, 16):
            raise InputError(f"sh_coefficients: {self.sh_coefficients} (allowed: 1, 4, 9, 16)")

    @property
    def columns(self) -> tuple[Column, ...]:
        """The config's columns, in order."""
        return CONFIGS[self.config]

    def shape_of(self, column: Column) -> tuple[int | None, ...]:
        """The column's shape with the data set's number of SH coefficients filled in."""
        return tuple(self.sh_coefficients if dim == "k" else dim for dim in column.shape)

    def inner_shape(self, name: str) -> tuple[int, ...]:
        """The shape of one element of an array column: `(3,)` for means, `(k, 3)` for SH, `()` for lists."""
        (column,) = (column for column in self.columns if column.name == name)
        return tuple(dim for dim in self.shape_of(column)[1:] if dim is not None)

    def dtype_of(self, column: Column) -> str:
        """The column's dtype with the data set's float type filled in."""
        return self.float_type if column.dtype == "gaussian" else column.dtype

    def split_leaves(self) -> list[str]:
        """Parquet paths of the columns that compress best split into byte streams: those of 32-bit floats.

        Those of 16-bit floats would, too, but DuckDB cannot read them so.
        """
        floats = (column for column in self.columns if self.dtype_of(column) == "float32")
        return [column.name + ".list.element" * len(column.shape) for column in floats]

    def arrow(self) -> pa.Schema:
        """The Arrow schema of a shard, with the features as `datasets` looks for them in its metadata."""
        types = {column: _arrow_type(self.dtype_of(column), len(column.shape)) for column in self.columns}
        fields = [pa.field(column.name, kind, nullable=column.nullable) for column, kind in types.items()]
        info = json.dumps({"info": {"features": self._feature_dicts()}})
        return pa.schema(fields, metadata={"huggingface": info})

    def features(self) -> "datasets.Features":
        """The features that `datasets.load_dataset` gives the config."""
        import datasets  # takes most of a second

        return datasets.Features.from_dict(self._feature_dicts())

    def _feature_dicts(self) -> dict[str, Any]:
        return {column.name: self._feature_dict(column) for column in self.columns}

    def _feature_dict(self, column: Column) -> dict[str, Any]:
        if column.dtype == "label":
            return {"names": list(self.classes), "_type": "ClassLabel"}
        if column.dtype == "image":
            return {"_type": "Image"}
        dtype = self.dtype_of(column)
        value = {"dtype": dtype, "_type": "Value"}
        match self.shape_of(column):
            case ():
                return value
            case (_,):
                return {"feature": value, "_type": "List"}
            case shape:
                return {"shape": list(shape), "dtype": dtype, "_type": f"Array{len(shape)}D"}


def _arrow_type(dtype: str, dimensions: int) -> pa.DataType:
    if dtype == "image":
        return pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    kinds = {"string": pa.string(), "label": pa.int64(), "float16": pa.float16()}
    nested = kinds[dtype] if dtype in kinds else pa.type_for_alias(dtype)
    for _ in range(dimensions):
        nested = pa.list_(pa.field("element", nested, nullable=False))
    return nested
