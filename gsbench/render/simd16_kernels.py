"""Vectors of 16 floats for numba: `+ - * /`, comparison, selection, loads, stores and sums, one LLVM instruction each.

LLVM's auto-vectoriser gives up on the rasterizer's loops, so they are written in these types instead: 4x4 pixels
(or 16 Gaussians) are one `<16 x float>` value, which becomes one AVX-512 register, two of AVX2 or four of NEON.
Every operation rounds once, as written: what LLVM may fuse depends on what it inlines, and so would the last bit. `fma`
is a multiply-add with one rounding.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import operator

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 16
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_LANES_IR, _INTS_IR, _MASK_IR = (ir.VectorType(element, WIDTH) for element in (_FLOAT, _INT, ir.IntType(1)))


class _LanesType(types.Type):
    def __init__(self):
        super().__init__(name="f32x16")


class _MaskType(types.Type):
    def __init__(self):
        super().__init__(name="mask16")


LANES, MASK = _LanesType(), _MaskType()


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _LANES_IR)


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _MASK_IR)


def _broadcast(builder, scalar):
    first = builder.insert_element(
        ir.Constant(ir.VectorType(scalar.type, WIDTH), ir.Undefined), scalar, ir.Constant(_INT, 0)
    )
    zeros = ir.Constant(_INTS_IR, [0] * WIDTH)
    return builder.shuffle_vector(first, ir.Constant(first.type, ir.Undefined), zeros)


def _as_lanes(builder, value, numba_type):
    if numba_type is LANES:
        return value
    if numba_type is types.float64:
        value = builder.fptrunc(value, _FLOAT)
    elif isinstance(numba_type, types.Integer):
        value = builder.sitofp(value, _FLOAT)
    return _broadcast(builder, value)


_OPERANDS = [(LANES, LANES)]
_OPERANDS += [(LANES, scalar) for scalar in (types.float32, types.float64)]
_OPERANDS += [(scalar, LANES) for scalar in (types.float32, types.float64)]


def _register_binary(function, emit, result):
    @infer_global(function)
    class _Template(ConcreteTemplate):
        cases = [signature(result, *operands) for operands in _OPERANDS]  # noqa: RUF012

    def lower(context, builder, sig, args):
        a, b = (_as_lanes(builder, *pair) for pair in zip(args, sig.args, strict=True))
        return emit(builder, a, b)

    for operands in _OPERANDS:
        lower_builtin(function, *operands)(lower)


_ARITHMETIC = ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"))
for _function, _method in _ARITHMETIC:
    _register_binary(_function, lambda b, x, y, m=_method: getattr(b, m)(x, y), LANES)
_COMPARISONS = ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="))
for _function, _symbol in _COMPARISONS:
    _register_binary(_function, lambda b, x, y, s=_symbol: b.fcmp_ordered(s, x, y), MASK)


@infer_global(operator.neg)
class _NegTemplate(ConcreteTemplate):
    cases = [signature(LANES, LANES)]  # noqa: RUF012


@lower_builtin(operator.neg, LANES)
def _lower_neg(context, builder, sig, args):
    return builder.fneg(args[0])


@infer_global(operator.and_)
class _AndTemplate(ConcreteTemplate):
    cases = [signature(MASK, MASK, MASK)]  # noqa: RUF012


@lower_builtin(operator.and_, MASK, MASK)
def _lower_and(context, builder, sig, args):
    return builder.and_(*args)


def _call(builder, name, result, args):
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args)


def _address(context, builder, array_type, array, index, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def splat(typingctx, scalar):
    """16 copies of a scalar."""
    if not isinstance(scalar, (types.Float, types.Integer)):
        return None
    return LANES(scalar), lambda context, builder, sig, args: _as_lanes(builder, args[0], sig.args[0])


@intrinsic
def iota(typingctx):
    """0, 1, ... 15."""
    return LANES(), lambda context, builder, sig, args: ir.Constant(_LANES_IR, [float(i) for i in range(WIDTH)])


@intrinsic
def load(typingctx, array, index):
    """The 16 floats from flat position `index` of a contiguous float32 array (any alignment)."""

    def codegen(context, builder, sig, args):
        return builder.load(_address(context, builder, sig.args[0], *args, _LANES_IR), align=4)

    return LANES(array, types.intp), codegen


@intrinsic
def load_bytes(typingctx, array, index):
    """The 16 bytes from flat position `index` of a contiguous uint8 array, as floats."""

    def codegen(context, builder, sig, args):
        vector = ir.VectorType(ir.IntType(8), WIDTH)
        values = builder.load(_address(context, builder, sig.args[0], *args, vector), align=1)
        return builder.uitofp(values, _LANES_IR)

    return LANES(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Writes 16 floats at flat position `index` of a contiguous float32 array (any alignment)."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig.args[0], *args[:2], _LANES_IR), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES), codegen


@intrinsic
def broadcast(typingctx, array, index):
    """16 copies of the float at flat position `index` of a contiguous float32 array."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _broadcast(builder, builder.load(builder.gep(data, [args[1]])))

    return LANES(array, types.intp), codegen


@intrinsic
def select(typingctx, mask, a, b):
    """`a` where the mask holds, else `b`."""
    return LANES(MASK, LANES, LANES), lambda context, builder, sig, args: builder.select(*args)


@intrinsic
def bits(typingctx, mask):
    """The mask as an integer, lane i at bit i."""

    def codegen(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(MASK), codegen


@intrinsic
def sqrt(typingctx, value):
    """Square roots."""
    return LANES(LANES), lambda context, builder, sig, args: _call(builder, "llvm.sqrt.v16f32", _LANES_IR, args)


@intrinsic
def _scale_by_power(typingctx, value, shifted):
    """`value` times 2 to the integer that sits in the low mantissa bits of `shifted`."""

    def codegen(context, builder, sig, args):
        exponents = builder.shl(builder.bitcast(args[1], _INTS_IR), ir.Constant(_INTS_IR, [23] * WIDTH))
        return builder.bitcast(builder.add(builder.bitcast(args[0], _INTS_IR), exponents), _LANES_IR)

    return LANES(LANES, LANES), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a b + c with one rounding; scalars count for all lanes."""

    def codegen(context, builder, sig, args):
        lanes = [_as_lanes(builder, *pair) for pair in zip(args, sig.args, strict=True)]
        return _call(builder, "llvm.fma.v16f32", _LANES_IR, lanes)

    return LANES(a, b, c), codegen


@intrinsic
def trailing_zeros(typingctx, value):
    """The position of the lowest set bit of a non-zero integer."""

    def codegen(context, builder, sig, args):
        return _call(builder, "llvm.cttz.i64", ir.IntType(64), [args[0], ir.Constant(ir.IntType(1), 1)])

    return types.int64(types.int64), codegen


@njit(forceinline=True)
def minimum(a, b):
    """The smaller of each pair."""
    return select(a < b, a, b)


@njit(forceinline=True)
def maximum(a, b):
    """The larger of each pair."""
    return select(a > b, a, b)


@njit(forceinline=True)
def exp2(x):
    """2 to the x for x in -126..126, relative error below 3e-6; elsewhere the bits mean nothing."""
    # Adding 1.5 * 2^23 rounds x to an integer that stands in the low bits of the sum.
    shifted = x + 12582912.0
    f = x - (shifted - 12582912.0)
    # Minimax polynomial of 2^f over -.5...5 for the relative error, 2.6e-6.
    value = fma(fma(fma(0.00957010191, f, 0.0559178603), f, 0.240247448), f, 0.693121815)
    return _scale_by_power(fma(value, f, 0.999999261), shifted)
