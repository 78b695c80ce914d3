"""Where things stand in the arrays that the mesh rasterizer's kernels share."""

from numba import njit

# mypy: ignore-errors


kernel = njit(cache=True, error_model="numpy", _nrt=False)
inlined = njit(error_model="numpy", _nrt=False, forceinline=True)


LANES = 16
# Blocks of a tile's side, tiles of a patch's side: block 4 y + x of a tile stands at that lane, and so a patch's tiles.
TILE = PATCH = 4
CORNERS = 9  # vectors a group of 16 triangles: x, y, z of corner 0, of corner 1, of corner 2
# What is nearer to the camera's plane is cut off (z of the scaled mesh, whose largest coordinate is .5 to 1), and what
# is further from the image's corner than this many times its longer side.
NEAR, GUARD = 2.0**-20, 4.0

# Where `_Pattern.layout` keeps x and y of its samples, of the blocks of a tile, and of all samples of a tile.
SAMPLES_X, SAMPLES_Y, BLOCKS_X, BLOCKS_Y, TILE_X, TILE_Y = (16 * vector for vector in (0, 1, 2, 3, 4, 20))

# The vectors of the records of 16 triangles, corners sorted by y, then x. A, B: an edge's extent in y and in x. 1/z is
# W0 + GX (x - X0) + GY (y - Y0), at most NEAREST. SIDE: 1 if corner 1 is right of the long edge 02, else -1.
X0, Y0, X1, Y1, A01, B01, A02, B02, A12, B12, W0, NEAREST, GX, GY, SIDE, HIGHEST = range(16)
# The blocks that it may touch; the most and the least that 1/z may gain from a block's corner on, and from a tile's.
LEFT, RIGHT, TOP, BOTTOM, RISE, FALL, TILE_RISE, _ = range(16, 24)
# Of edges 02, 01, 12: how far inside, SA dx - SB dy, a block's corner is if all of the block is, if none of it is, and
# a tile's corner if none of the tile is.
EDGES = 24
SA, SB, WHOLE, NONE, TILE_NONE = range(5)
RECORD = EDGES + 3 * 5

# What is kept of a triangle that owns whole blocks.
P_X, P_Y, P_W, P_GX, P_GY, P_NEAREST, P_SHADE = range(7)
PLANE = 8

# Owners of a block that no one triangle owns.
EMPTY, MIXED = -1.0, -2.0
