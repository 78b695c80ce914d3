"""How the mesh rasteriser's kernels are compiled.

numba counts references to arrays at every call and every unpacking of a tuple, which costs more than a small triangle;
its runtime is left out, so these kernels work in arrays that they are given and make none.
"""

# mypy: ignore-errors

from numba import njit

kernel = njit(cache=True, error_model="numpy", _nrt=False)
inlined = njit(error_model="numpy", _nrt=False, forceinline=True)
