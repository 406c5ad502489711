"""First noises that resemble another: between two seeds, and from another size."""

import torch
from torch import Tensor


def slerp(a: Tensor, b: Tensor, amount: float, dims: tuple[int, ...] = (1, 2, 3)) -> Tensor:
    """From a (amount 0) to b (amount 1) along the great circle through both, each picture (B, C, H,
    W) by itself; or each of its vectors along fewer dims.

    sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b, where w is the angle between a and b: two
    standard normals then nearly stay standard normal all the way, the more so the more numbers they
    have. Shoemake 1985, sec. 3.3. Where the two are nearly parallel the circle is nearly a straight
    line, and sin(w) too small to divide by: (1 - t) a + t b.
    """
    length_a, length_b = (torch.linalg.vector_norm(x, dim=dims, keepdim=True) for x in (a, b))
    cosine = (a * b).sum(dims, keepdim=True) / (length_a * length_b)
    angle = cosine.clamp(-1, 1).acos()
    along = (torch.sin((1 - amount) * angle) * a + torch.sin(amount * angle) * b) / torch.sin(angle)
    straight = (1 - amount) * a + amount * b
    return torch.where(cosine > 0.9995, straight, along)


def centred(small: Tensor, large: Tensor) -> Tensor:
    """`large` (B, C, H, W) with `small` (B, C, h, w) laid over its middle; what does not fit is cut
    off.

    The noise of a picture at one size, for one at another size, which often resembles it:
    AUTOMATIC1111's "resize seed from".
    """
    result = large.clone()
    top, from_top, high = middle(small.shape[2], large.shape[2])
    left, from_left, wide = middle(small.shape[3], large.shape[3])
    kept = small[..., from_top : from_top + high, from_left : from_left + wide]
    result[..., top : top + high, left : left + wide] = kept
    return result


def middle(length: int, room: int) -> tuple[int, int, int]:
    """Where in the room to begin, where in the thing to begin, and how much of it fits.

    >>> middle(4, 10), middle(10, 4)
    ((3, 0, 4), (0, 3, 4))
    """
    return max(0, (room - length) // 2), max(0, (length - room) // 2), min(length, room)
