"""What the autoencoder is trained to make small; the U-Net's loss is `ModelDenoiser.loss`.

B batch, H x W size of the picture, Z latent channels.
"""

import torch.nn.functional as F
from torch import Tensor


def reconstruction_loss(images: Tensor, target: Tensor) -> Tensor:
    """L1 + L2 distance of the pixels. Two of (B, 3, H, W) -> ()"""
    return F.l1_loss(images, target) + F.mse_loss(images, target)


def gradient_difference_loss(images: Tensor, target: Tensor, levels: int = 3) -> Tensor:
    """L1 distance of the differences between neighbouring pixels. Two of (B, 3, H, W) -> ()

    Pixel losses forgive a blurred edge, which an eye does not. After Mathieu et al. 2016 ("Deep
    multi-scale video prediction beyond mean square error"), eq. 6. They compare the differences'
    absolute values, at one resolution; here the signs count too, it is a mean and not a sum, and it
    is averaged over `levels` resolutions, each half as fine as the one before.
    """
    total = images.new_zeros(())
    for _ in range(levels):
        error = images - target
        total = total + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        images, target = F.avg_pool2d(images, 2), F.avg_pool2d(target, 2)
    return total / levels


def kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Mean over all latent values of KL(N(mean, variance) || N(0, 1)).

    Kingma & Welling 2014, app. B. Two of (B, Z, H/f, W/f) -> ()
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def pixel_losses(decoded: Tensor, target: Tensor, gradient_difference: float) -> dict[str, Tensor]:
    """A decoder's loss and its two terms, the second with a weight. Two of (B, 3, H, W) -> ()"""
    decoded = decoded.float()
    reconstruction = reconstruction_loss(decoded, target)
    edges = gradient_difference_loss(decoded, target)
    loss = reconstruction + gradient_difference * edges
    return {"loss": loss, "reconstruction": reconstruction, "gradient_difference": edges}
