"""What the tiles of Gaussians need of the 16-wide vectors beyond `lanes_kernels`: blocks of 4x4 pixels, many sums."""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from gsbench.render.simd16_kernels import LANES, WIDTH, splat

SIDE = 4
_FLOAT, _BYTE, _INT = ir.FloatType(), ir.IntType(8), ir.IntType(32)
_LANES_IR = ir.VectorType(_FLOAT, WIDTH)


@intrinsic
def columns(typingctx):
    """Columns of 4x4 pixels, row after row: 0, 1, 2, 3, 0, 1, ... 3."""
    lanes = [float(i % SIDE) for i in range(WIDTH)]
    return LANES(), lambda context, builder, sig, args: ir.Constant(_LANES_IR, lanes)


@intrinsic
def rows(typingctx):
    """Rows of 4x4 pixels, row after row: 0, 0, 0, 0, 1, ... 3."""
    lanes = [float(i // SIDE) for i in range(WIDTH)]
    return LANES(), lambda context, builder, sig, args: ir.Constant(_LANES_IR, lanes)


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT, len(lanes)), list(lanes)))


def _row_addresses(context, builder, array_type, array, index, stride, element):
    data = context.make_array(array_type)(context, builder, array).data
    for _ in range(SIDE):
        yield builder.bitcast(builder.gep(data, [index]), ir.VectorType(element, SIDE).as_pointer())
        index = builder.add(index, stride)


def _load_rows(context, builder, array_type, args, element, align):
    a, b, c, d = (
        builder.load(address, align=align) for address in _row_addresses(context, builder, array_type, *args, element)
    )
    halves = (_shuffle(builder, *pair, range(2 * SIDE)) for pair in ((a, b), (c, d)))
    return _shuffle(builder, *halves, range(WIDTH))


@intrinsic
def load_block(typingctx, array, index, stride):
    """4x4 floats, rows `stride` apart, from flat position `index` of a contiguous float32 array."""

    def codegen(context, builder, sig, args):
        return _load_rows(context, builder, sig.args[0], args, _FLOAT, 4)

    return LANES(array, types.intp, types.intp), codegen


@intrinsic
def load_block_bytes(typingctx, array, index, stride):
    """4x4 bytes, rows `stride` apart, from flat position `index` of a contiguous uint8 array, as floats."""

    def codegen(context, builder, sig, args):
        return builder.uitofp(_load_rows(context, builder, sig.args[0], args, _BYTE, 1), _LANES_IR)

    return LANES(array, types.intp, types.intp), codegen


@intrinsic
def store_block(typingctx, array, index, stride, value):
    """Writes 4x4 floats, rows `stride` apart, at flat position `index` of a contiguous float32 array."""

    def codegen(context, builder, sig, args):
        addresses = _row_addresses(context, builder, sig.args[0], *args[:3], _FLOAT)
        for row, address in enumerate(addresses):
            lanes = range(SIDE * row, SIDE * (row + 1))
            builder.store(_shuffle(builder, args[3], args[3], lanes), address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, LANES), codegen


@intrinsic
def with_bit(typingctx, masks, index, bit):
    """Which of the 16 integers from flat position `index` of an int32 array have a bit set, as an integer."""

    def codegen(context, builder, sig, args):
        array, index, bit = args
        data = context.make_array(sig.args[0])(context, builder, array).data
        vector = ir.VectorType(_INT, WIDTH)
        values = builder.load(builder.bitcast(builder.gep(data, [index]), vector.as_pointer()), align=4)
        one = builder.shl(ir.Constant(_INT, 1), builder.trunc(bit, _INT))
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), one, ir.Constant(_INT, 0))
        wanted = builder.shuffle_vector(first, first, ir.Constant(vector, [0] * WIDTH))
        found = builder.icmp_signed("!=", builder.and_(values, wanted), ir.Constant(vector, [0] * WIDTH))
        return builder.zext(builder.bitcast(found, ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(masks, types.intp, types.intp), codegen


@intrinsic
def transpose(typingctx, source, first, stride, target, place, step):
    """16x16 floats: `source`'s rows from `first` on, `stride` apart, become columns of `target`'s from `place` on."""

    def codegen(context, builder, sig, args):
        source, first, stride, target, place, step = args
        lanes = []
        for _ in range(WIDTH):
            lanes.append(builder.load(_vector_address(context, builder, sig.args[0], source, first), align=4))
            first = builder.add(first, stride)
        for distance in (8, 4, 2, 1):
            upper = [lane if not lane & distance else WIDTH + lane - distance for lane in range(WIDTH)]
            lower = [lane + distance if not lane & distance else WIDTH + lane for lane in range(WIDTH)]
            for k in (k for k in range(WIDTH) if not k & distance):
                pair = lanes[k], lanes[k + distance]
                lanes[k], lanes[k + distance] = _shuffle(builder, *pair, upper), _shuffle(builder, *pair, lower)
        for value in lanes:
            builder.store(value, _vector_address(context, builder, sig.args[3], target, place), align=4)
            place = builder.add(place, step)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), codegen


def _vector_address(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _LANES_IR.as_pointer())


@intrinsic
def scaled_in_double(typingctx, value, factor):
    """`value` times a float64, rounded once."""

    def codegen(context, builder, sig, args):
        doubles = ir.VectorType(ir.DoubleType(), WIDTH)
        first = builder.insert_element(ir.Constant(doubles, ir.Undefined), args[1], ir.Constant(_INT, 0))
        factors = builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_INT, WIDTH), [0] * WIDTH))
        return builder.fptrunc(builder.fmul(builder.fpext(args[0], doubles), factors), _LANES_IR)

    return LANES(LANES, types.float64), codegen


def _fold(distance):
    """Of two vectors one: groups of `distance` lanes added to their neighbors, first those of `a`, then of `b`."""
    near = [lane for lane in range(2 * WIDTH) if lane // distance % 2 == 0]

    @intrinsic
    def fold(typingctx, a, b):
        def codegen(context, builder, sig, args):
            far = [lane + distance for lane in near]
            return builder.fadd(_shuffle(builder, *args, near), _shuffle(builder, *args, far))

        return LANES(LANES, LANES), codegen

    return fold


_fold_8, _fold_4, _fold_2, _fold_1 = (_fold(distance) for distance in (8, 4, 2, 1))


@njit(forceinline=True)
def totals(a, b, c, d, e, f, g, h, i, j):
    """The sums of ten vectors' lanes, each as a tree, in the lanes of one: that of `a` first, six zeros last.

    Every addition folds two vectors into one: a third of the work of ten sums one by one.
    """
    zero = splat(0.0)
    eight = _fold_2(_fold_4(_fold_8(a, b), _fold_8(c, d)), _fold_4(_fold_8(e, f), _fold_8(g, h)))
    two = _fold_2(_fold_4(_fold_8(i, j), zero), zero)
    return _fold_1(eight, two)
