"""What a sample-wise rasterizer needs of the 16-wide vectors beyond `lanes_kernels`: masks, rounding, folds, pixels.

Multiply-adds are written out as `fma` wherever a result decides which sample belongs to which triangle, so that a
processor's choice of instructions decides nothing.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gsbench.render.mesh.triangle_layout import inlined
from gsbench.render.simd16_kernels import LANES, MASK, WIDTH, maximum

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_LANES_IR, _INTS_IR = ir.VectorType(_FLOAT, WIDTH), ir.VectorType(_INT, WIDTH)
_MASK_IR = ir.VectorType(ir.IntType(1), WIDTH)


def _call(builder, name, args):
    kind = ir.FunctionType(_LANES_IR, [value.type for value in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def floor(typingctx, value):
    """The largest integers not above."""
    return LANES(LANES), lambda context, builder, sig, args: _call(builder, "llvm.floor.v16f32", args)


@intrinsic
def ceil(typingctx, value):
    """The smallest integers not below."""
    return LANES(LANES), lambda context, builder, sig, args: _call(builder, "llvm.ceil.v16f32", args)


@intrinsic
def nearest(typingctx, value):
    """The nearest integers, halves to even."""
    return LANES(LANES), lambda context, builder, sig, args: _call(builder, "llvm.rint.v16f32", args)


@intrinsic
def magnitude(typingctx, value):
    """Absolute values."""
    return LANES(LANES), lambda context, builder, sig, args: _call(builder, "llvm.fabs.v16f32", args)


@intrinsic
def everywhere(typingctx, flag):
    """A mask of 16 copies of a boolean."""

    def codegen(context, builder, sig, args):
        one = builder.trunc(args[0], ir.IntType(1)) if args[0].type.width > 1 else args[0]
        empty = ir.Constant(_MASK_IR, ir.Undefined)
        first = builder.insert_element(empty, one, ir.Constant(_INT, 0))
        return builder.shuffle_vector(first, empty, ir.Constant(_INTS_IR, [0] * WIDTH))

    return MASK(types.boolean), codegen


@intrinsic
def differ(typingctx, a, b):
    """Where exactly one of two masks holds."""
    return MASK(MASK, MASK), lambda context, builder, sig, args: builder.xor(*args)


@intrinsic
def either(typingctx, a, b):
    """Where at least one of two masks holds."""
    return MASK(MASK, MASK), lambda context, builder, sig, args: builder.or_(*args)


def _rotation(by):
    @intrinsic
    def rotate(typingctx, value):
        def codegen(context, builder, sig, args):
            order = ir.Constant(_INTS_IR, [(lane + by) % WIDTH for lane in range(WIDTH)])
            return builder.shuffle_vector(args[0], args[0], order)

        return LANES(LANES), codegen

    return rotate


_rotate_8, _rotate_4, _rotate_2, _rotate_1 = (_rotation(by) for by in (8, 4, 2, 1))


@inlined
def fold_sum(value, pixels):
    """In every lane, the sum of the lanes that agree with it modulo `pixels` (1 or 4)."""
    value = value + _rotate_8(value)
    value = value + _rotate_4(value)
    if pixels == 1:
        value = value + _rotate_2(value)
        value = value + _rotate_1(value)
    return value


@inlined
def fold_max(value, pixels):
    """In every lane, the largest of the lanes that agree with it modulo `pixels` (1 or 4)."""
    value = maximum(value, _rotate_8(value))
    value = maximum(value, _rotate_4(value))
    if pixels == 1:
        value = maximum(value, _rotate_2(value))
        value = maximum(value, _rotate_1(value))
    return value


@intrinsic
def lowest(typingctx, value):
    """The smallest of the 16 lanes."""

    def codegen(context, builder, sig, args):
        name = "llvm.vector.reduce.fmin.v16f32"
        kind = ir.FunctionType(_FLOAT, [_LANES_IR])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, args, fastmath=("nnan",))

    return types.float32(LANES), codegen


def _pack(builder, channels):
    """Bytes of four vectors in 0..255 (cut to integers) as 16 pixels, the first channel lowest."""
    packed = None
    for place, value in enumerate(channels):
        byte = builder.fptosi(value, _INTS_IR)
        shifted = builder.shl(byte, ir.Constant(_INTS_IR, [8 * place] * WIDTH)) if place else byte
        packed = builder.or_(packed, shifted) if place else shifted
    return packed


def _write_rows(context, builder, image_type, image, index, stride, values, order):
    """Writes the lanes of each row of `order` to an image, from position `index` on, `stride` from row to row."""
    data = context.make_array(image_type)(context, builder, image).data
    for row, lanes in enumerate(order):
        indices = ir.Constant(ir.VectorType(_INT, len(lanes)), list(lanes))
        part = builder.shuffle_vector(values, values, indices)
        offset = builder.add(index, builder.mul(stride, ir.Constant(stride.type, row)))
        builder.store(part, builder.bitcast(builder.gep(data, [offset]), part.type.as_pointer()), align=4)


def _pixel_rows(order):
    @intrinsic
    def store_rows(typingctx, image, index, stride, red, green, blue, alpha):
        def codegen(context, builder, sig, args):
            _write_rows(context, builder, sig.args[0], *args[:3], _pack(builder, args[3:]), order)
            return context.get_dummy_value()

        return types.void(image, types.intp, types.intp, LANES, LANES, LANES, LANES), codegen

    return store_rows


_SQUARE = [range(4 * row, 4 * row + 4) for row in range(4)]
_PAIRS = [[4 * (x // 2) + 2 * row + x % 2 for x in range(8)] for row in range(2)]

# RGBA bytes of lanes in 0..255 (cut to integers) from position `index` of a contiguous uint32 image on, `stride` pixels
# from row to row: 4x4, or 8x2 of which lane 4 b + 2 y + x is pixel x, y of the b-th 2x2 pixels.
store_4x4, store_8x2 = _pixel_rows(_SQUARE), _pixel_rows(_PAIRS)


@intrinsic
def store_square(typingctx, image, index, stride, value):
    """Writes 4x4 floats from position `index` of a contiguous float32 image on, `stride` pixels from row to row."""

    def codegen(context, builder, sig, args):
        _write_rows(context, builder, sig.args[0], *args, _SQUARE)
        return context.get_dummy_value()

    return types.void(image, types.intp, types.intp, LANES), codegen
