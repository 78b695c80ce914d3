"""Procedural objects of the ten classes of ModelNet10: parametric, deterministic, as confusable as the real ones.

They stand in where the real meshes may not go: in the embedded data set and in tests. Within a class the topology
varies as well as the proportions. Classes overlap on purpose where ModelNet's do: desks with tables, dressers with
night stands, and at the edges armchairs with sofas.
"""

from collections.abc import Callable

from gsbench.core.parsing import InputError
from gsbench.core.types import Mesh
from gsbench.meshes.shapes.fixtures import make_bathtub, make_monitor, make_toilet
from gsbench.meshes.shapes.furniture import make_bed, make_chair, make_dresser, make_night_stand, make_sofa
from gsbench.meshes.shapes.solids import Draw, move, scale
from gsbench.meshes.shapes.tables import make_desk, make_table

_MAKERS: dict[str, Callable[[Draw], Mesh]] = {
    "bathtub": make_bathtub,
    "bed": make_bed,
    "chair": make_chair,
    "desk": make_desk,
    "dresser": make_dresser,
    "monitor": make_monitor,
    "night_stand": make_night_stand,
    "sofa": make_sofa,
    "table": make_table,
    "toilet": make_toilet,
}
LABELS = tuple(_MAKERS)
_LARGEST_STRETCH = 0.08


def make_shape(label: str, seed: int) -> Mesh:
    """Makes one object.

    Args:
        label: one of `LABELS`.
        seed: 0 or more; equal seeds give equal meshes, and each seed of a class another object.

    Returns:
        A closed-part mesh in metres, z up, standing on z = 0, its front towards -y; each axis stretched by up to 8 %.

    Raises:
        InputError: an unknown label or a negative seed.
    """
    if label not in _MAKERS:
        raise InputError(f"no procedural shape {label!r}, allowed are {', '.join(LABELS)}")
    if seed < 0:
        raise InputError(f"seed is {seed}, it must be 0 or more")
    draw = Draw(seed, LABELS.index(label))
    stretch = [1 + draw.between(-_LARGEST_STRETCH, _LARGEST_STRETCH) for _ in range(3)]
    shape = scale(_MAKERS[label](draw), *stretch)
    return move(shape, z=-float(shape.vertices[:, 2].min()))
