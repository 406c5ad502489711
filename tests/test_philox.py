"""CUDA's random numbers: the cipher by its authors' test vectors, the normals by another
emulation's."""

import numpy as np
import pytest
import torch

from ldm.compat.philox import Philox, philox

DIGITS = 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0  # of pi


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (DIGITS[:4], DIGITS[4:], (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_the_cipher_by_the_vectors_of_random123(counter, key, expected):
    words = philox([np.array([word], np.uint32) for word in counter], key)
    assert tuple(int(word[0]) for word in words) == expected
    assert all(word.dtype == np.uint32 for word in words)


def test_the_normals_that_the_web_ui_documents():
    """AUTOMATIC1111, modules/rng_philox.py: seed 0, shape (3, 4). To the last digits but one of
    single precision."""
    expected = [
        [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
        [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
        [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
    ]
    assert torch.allclose(Philox(0).randn((3, 4)), torch.tensor(expected), rtol=5e-7, atol=0)


def test_every_draw_is_another_and_of_its_own():
    one, other = Philox(7), Philox(7)
    first, second = one.randn((4, 8)), one.randn((4, 8))
    assert not torch.equal(first, second)
    other.randn((2,))  # however much the first draw takes, the second is the second
    assert torch.equal(other.randn((4, 8)), second)
    assert torch.equal(
        Philox(7).randn((4, 16)).flatten()[:32], first.flatten()
    )  # and its beginning is its beginning


def test_all_64_bits_of_a_seed_count():
    draws = [Philox(seed).randn((8,)) for seed in (7, 2**32 + 7, 2**64 - 1, 2**32 - 1)]
    assert len({tuple(draw.tolist()) for draw in draws}) == 4


def test_they_are_standard_normal():
    draw = Philox(3).randn((2**16,))  # 4 standard errors: 0.016 of the mean, 0.022 of the variance
    assert abs(draw.mean()) < 0.016
    assert draw.var().item() == pytest.approx(1, abs=0.022)
    assert draw.pow(4).mean().item() == pytest.approx(3, abs=0.16)
    assert draw.dtype == torch.float32
