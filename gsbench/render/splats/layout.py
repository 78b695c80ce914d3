"""Where each quantity stands in the arrays of the CPU rasterizer.

Arrays over Gaussians are structures of arrays, `[rows, n]` with n a multiple of 16; what the tiles read and write of
them are arrays of structures, `[n, 16]`, one cache line each.
"""

# A Gaussian, `params` [11 + 3 k, n], and the derivatives by it: SH coefficient c of channel j is row SH + 3 c + j.
MEAN, QUAT, SCALE, OPACITY, SH = 0, 3, 7, 10, 11

# A camera [25]: rotation (row-major), translation, center, intrinsics, limits of x/z (min, max) and of y/z; what the
# low-pass adds to the variance in pixels^2, and its square.
ROTATION, TRANSLATION, CENTER, FX, FY, CX, CY, LIMITS, LOW_PASS, LOW_PASS_SQUARED = 0, 9, 12, 15, 16, 17, 18, 19, 23, 24

# `projected` [12, n]: image position, conic (inverse covariance), variances after the low-pass, opacity (0 behind the
# camera, compensated when antialiased), color, depth.
X, Y, CONIC_A, CONIC_B, CONIC_C, VAR_X, VAR_Y, ALPHA, RED, DEPTH = 0, 1, 2, 3, 4, 5, 6, 7, 8, 11
PROJECTED_ROWS = 12

# The derivatives by the same, by log(opacity) in place of opacity, without the variances; of 16 Gaussians at a time.
D_X, D_Y, D_CONIC_A, D_CONIC_B, D_CONIC_C, D_LOG_ALPHA, D_RED, D_DEPTH = 0, 1, 2, 3, 4, 5, 6, 9
DERIVATIVES = 10

# A record: position, the exponent's quadratic form and log2(opacity) (alpha = 2^exponent), color, depth; where along x
# (y) the exponent is highest at an offset of 1 in y (x); last, the first tile that it may reach and the one behind the
# last, along x and y, not yet rounded down.
R_X, R_Y, R_A, R_B, R_C, R_LOG, R_RED, R_DEPTH = 0, 1, 2, 3, 4, 5, 6, 9
R_RIDGE_X, R_RIDGE_Y, R_LEFT, R_RIGHT, R_TOP, R_BOTTOM = 10, 11, 12, 13, 14, 15
RECORD = 16

# What the tiles return for a record: moments over the offsets from its center (1, x, y, xx, xy, yy) of the loss's
# derivative by log(alpha), then the derivatives by color and depth.
M_ONE, M_X, M_Y, M_XX, M_XY, M_YY, M_RED, M_DEPTH = 0, 1, 2, 3, 4, 5, 6, 9

# A tile is 4x4 blocks of 4x4 pixels, one vector each; blocks and pixels are counted row after row.
TILE, BLOCK, BLOCKS = 16, 4, 16
# Which of a tile's Gaussians reach a block is kept in words of as many bits.
WORD = 64
# Planes of an image: red, green, blue, alpha, sum of weight times depth.
PLANES = 5
