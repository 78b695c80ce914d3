"""Rasterisers for a GPU process whose GPU is a CPU."""

import os
from pathlib import Path

import torch

from tests.render.splat_reference import dense


def noting(path: Path, means: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
    """`dense` that writes down how many objects it draws."""
    with path.open("a") as file:
        file.write(f"{len(means)}\n")
    return dense(means, *rest)


def crowded(means: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
    """`dense` on a device whose memory holds one object."""
    if len(means) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return dense(means, *rest)


def fragile(path: Path, means: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
    """`dense` that ends its process, once for each line in a file, and whenever it draws something red."""
    sh = rest[3]
    assert isinstance(sh, torch.Tensor)
    red, green, _ = sh[:, :, 0].mean(1).unbind(-1)
    if (red > green + 1.5).any():
        os._exit(1)
    if path.exists() and (lines := path.read_text().splitlines()):
        path.write_text("\n".join(lines[1:]))
        os._exit(1)
    return dense(means, *rest)
