"""The fit on CUDA: many objects at once, after the same recipe as on CPU.

Everything but the rasterizer is torch on any device; only what is named gsplat or CUDA needs a GPU. Same seed, same
device: the start, the order of views and every image are the same bits, but gsplat adds gradients up by atomics in no
fixed order, so that results of two runs differ as their rounding does, and by what Adam makes of that: in PSNR by some
hundredths of a dB. They do not depend on what else is in the batch in any other way.
"""
