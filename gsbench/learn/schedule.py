"""Optimizers, the order of an epoch, and learning rates along a schedule."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from gsbench.core.parsing import InputError
from gsbench.core.recipe import Train


def make_optimizer(model: nn.Module, name: str, how: Train) -> torch.optim.Optimizer:
    """The optimizer of a schedule; an InputError names the recipe whose model has nothing to train."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError(f"{name}: the model has no parameters to train (allowed: epochs = 0)")
    if how.optimizer == "sgd":
        return torch.optim.SGD(parameters, how.lr, momentum=0.9, weight_decay=how.weight_decay, fused=True)
    kind = torch.optim.AdamW if how.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, how.lr, weight_decay=how.weight_decay, fused=True)


def epoch_order(count: int, batches: int, seed: int, epoch: int) -> Iterator[torch.Tensor]:
    """Indices of each batch: every object once, in batches of about equal size, as batch norm takes no single one."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    yield from (torch.from_numpy(part) for part in np.array_split(order, batches))


def step_generator(seed: int, epoch: int, step: int, device: torch.device) -> torch.Generator:
    """The step's generator for augmentation; also seeds torch's own, which dropout draws from."""
    own, torchs = np.random.SeedSequence([seed, epoch, step]).generate_state(2, np.uint64)
    torch.manual_seed(int(torchs))
    return torch.Generator(device).manual_seed(int(own))


def set_schedule(model: nn.Module, optimizer: torch.optim.Optimizer, how: Train, epoch: float) -> None:
    """Sets learning rate and batch-norm momentum for a point in time, counted in epochs."""
    rate, momentum = schedule(how, epoch)
    for group in optimizer.param_groups:
        group["lr"] = rate
    if momentum is not None:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = momentum


def schedule(how: Train, epoch: float) -> tuple[float, float | None]:
    """Learning rate and batch-norm momentum (None: leave the model's) after `epoch` epochs, which may be a fraction."""
    drops = int(epoch / how.step_epochs) if how.schedule == "step" else 0
    factor = how.step_factor**drops
    if how.schedule == "cosine":
        factor = 0.5 * (1 + np.cos(np.pi * epoch / how.epochs))
        rate = how.lr_floor + (how.lr - how.lr_floor) * factor
    else:
        rate = max(how.lr * factor, how.lr_floor)
    momentum = None if how.bn_momentum is None else max(how.bn_momentum * 0.5**drops, how.bn_momentum_floor)
    return float(rate), momentum
