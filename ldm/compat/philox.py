"""CUDA's normal random numbers, made on the CPU, so that pictures drawn on NVIDIA's GPUs can be
drawn again anywhere.

torch.randn on a GPU counts: element i of the n-th draw is a function of (seed, n, i) alone, by the
cipher Philox4x32 with 10 rounds (Salmon et al. 2011) and the transform of Box and Muller.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words = NDArray[np.uint32]

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # the golden ratio and sqrt(3) - 1


def philox(counter: Sequence[Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Four random words for each counter. counter: four arrays (N,) of 32 bits; key: two numbers of
    32 bits."""
    a, b, c, d = counter
    for i in range(10):
        left, right = (np.uint32((word + i * step) % 2**32) for word, step in zip(key, KEY_STEPS))
        first, second = (
            word.astype(np.uint64) * factor for word, factor in zip((a, c), MULTIPLIERS)
        )
        a, b = high(second) ^ b ^ left, low(second)
        c, d = high(first) ^ d ^ right, low(first)
    return a, b, c, d


def high(product: NDArray[np.uint64]) -> Words:
    words: Words = (product >> np.uint64(32)).astype(np.uint32)
    return words


def low(product: NDArray[np.uint64]) -> Words:
    return product.astype(np.uint32)


class Philox:
    """torch.Generator("cuda").manual_seed(seed), as far as its normal numbers go.

    In double precision, which rounds to what AUTOMATIC1111's web UI draws as "NV", bit for bit; a
    GPU computes in single, and differs by a few units in the last place. Draws of more elements
    than the GPU runs threads (some 100,000) are not the same: a thread then takes several elements,
    and torch lays them out by the GPU's size.
    """

    def __init__(self, seed: int) -> None:
        self.key = seed % 2**32, seed >> 32
        self.draws = 0

    def randn(self, shape: Sequence[int]) -> Tensor:
        """The next draw, float32 on the CPU."""
        elements = np.arange(math.prod(shape), dtype=np.uint32)
        zeros = np.zeros_like(elements)
        first, second, _, _ = philox(
            (zeros + np.uint32(self.draws), zeros, elements, zeros), self.key
        )
        self.draws += 1
        u, turn = first * 2.0**-32 + 2.0**-33, float(np.float32(math.tau * 2.0**-32))
        normal = np.sqrt(-2 * np.log(u)) * np.sin(second * turn + turn / 2)
        return torch.from_numpy(normal.astype(np.float32).reshape(shape))
