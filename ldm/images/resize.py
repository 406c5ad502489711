"""Pictures at another size."""

import numpy as np
import torch
from torch import Tensor


def lanczos(images: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] -> (B, 3, height, width), clamped, float32 on the CPU: PIL's
    LANCZOS, on numbers that are not rounded to 8 bits."""
    from PIL import Image
    from PIL.Image import Resampling

    if images.shape[-2:] == (height, width):
        return images
    maps = images.float().cpu().flatten(0, 1).numpy()
    resized = [
        np.asarray(Image.fromarray(one).resize((width, height), Resampling.LANCZOS)) for one in maps
    ]
    large = torch.from_numpy(np.stack(resized)).clamp(-1, 1)
    return large.reshape(*images.shape[:2], height, width)
