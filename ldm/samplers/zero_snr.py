"""Noise schedules that end in pure noise."""

import torch
from torch import Tensor

# AUTOMATIC1111's and ComfyUI's stand-in for 0: sigma = 4518.8
TERMINAL_ALPHA = 4.8973451890853435e-08


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """The betas rescaled so that the last training step is pure noise. Lin et al. 2023, algorithm
    1. (T,) float64.

    sqrt(a) is shifted and stretched to run from its first value to 0. The last a itself is not 0
    but TERMINAL_ALPHA, so that its sigma stays a number.
    """
    root = torch.cumprod(1 - betas.double(), 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    a = root**2
    a[-1] = TERMINAL_ALPHA
    return 1 - a / torch.cat([a.new_ones(1), a[:-1]])
