"""The arithmetic in which models are trained and scored: one on every CPU, whatever it multiplies natively."""

import contextlib
import os
from collections.abc import Iterator
from typing import Literal, get_args

import torch

from gsbench.core.parsing import InputError
from gsbench.core.recipe import Recipe

Precision = Literal["fp32", "bf16"]
"""Of the products in training: float32, or bfloat16 with float32 weights (mixed precision)."""


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Products of float32 numbers are float32's: no TF32 on GPUs, no bfloat16 on CPUs, whatever was chosen outside."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def check_arithmetic() -> None:
    """Raises an InputError where oneDNN was told to multiply float32 numbers as others, whatever torch asks for."""
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        if (mode := os.environ.get(name, "STRICT")).upper() != "STRICT":
            raise InputError(f"{name} is {mode}: products of float32 would be others' (must be STRICT, or not set)")


def resolve_precision(precision: str, device: torch.device) -> Precision:
    """`fp32` or `bf16`; `auto` is bf16 on CUDA, and fp32 on every CPU, whatever it multiplies natively.

    Raises:
        InputError: none of the three.
    """
    if precision == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    for known in get_args(Precision):
        if precision == known:
            return known
    raise InputError(f"precision is {precision!r} (allowed: auto, {', '.join(get_args(Precision))})")


def training_precision(recipe: Recipe, device: torch.device, precision: Precision | None = None) -> Precision:
    """That of a training by a recipe: bf16 where any of its schedules is; `precision` holds for all of them."""
    used = {resolve_precision(precision or how.precision, device) for how in (*recipe.pretraining, recipe.train)}
    return "bf16" if "bf16" in used else "fp32"
