"""What the autoencoder is trained to make small; the U-Net's loss is `ModelDenoiser.loss`.

B batch, H x W size of the picture, Z latent channels.
"""

import torch.nn.functional as F
from torch import Tensor


def reconstruction_loss(images: Tensor, target: Tensor) -> Tensor:
    """How far off the pixels are, mildly (L1) and where it is bad (L2). Two of (B, 3, H, W) -> ()"""
    return F.l1_loss(images, target) + F.mse_loss(images, target)


def perceptual_loss(images: Tensor, target: Tensor, levels: int = 3) -> Tensor:
    """How far off the edges are, from fine to coarse. Two of (B, 3, H, W) -> ()

    An eye forgives a shade that is slightly off, but no blurred edge. LPIPS (Zhang et al. 2018) measures that
    with a network trained elsewhere; here it is the L1 distance of the differences between neighbouring pixels,
    at `levels` resolutions: no download, and enough for flat shapes with clean edges.
    """
    total = images.new_zeros(())
    for _ in range(levels):
        error = images - target
        total = total + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        images, target = F.avg_pool2d(images, 2), F.avg_pool2d(target, 2)
    return total / levels


def kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of a latent value, on average. Kingma & Welling 2014, app. B.

    Two of (B, Z, H/f, W/f) -> ()
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
