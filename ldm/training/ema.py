"""An average of the weights over the last steps: it makes better pictures than the weights do."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    """Exponential moving average:  average <- decay * average + (1 - decay) * weights, every step.

    Early on the decay is (1 + step) / (10 + step), so that the average soon forgets the random
    start: the warm-up of TensorFlow's `ExponentialMovingAverage`.
    """

    def __init__(self, module: M, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: M, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.module.parameters(), module.parameters(), strict=True):
            average.lerp_(weight, 1 - keep)
