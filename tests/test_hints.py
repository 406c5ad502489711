"""Hints made from pictures: closed forms, and OpenCV's where it is installed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers import random_picture
from ldm.images.files import to_tensor
from ldm.images.hints import HINTS, blur, edges, grey, tile


def picture(width=37, height=29, smooth=0):
    """In [0, 1], of 8-bit levels."""
    x = (to_tensor(random_picture(width, height)) + 1) / 2
    if smooth:
        x = F.interpolate(
            x[..., : height // smooth, : width // smooth], (height, width), mode="bicubic"
        )
        x = (x.clamp(0, 1) * 255).round() / 255
    return x


def levels(x):
    """(1, 3, H, W) -> (H, W, 3) uint8"""
    return np.ascontiguousarray((x[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8))


@pytest.mark.parametrize("smooth", [0, 4, 8])
@pytest.mark.parametrize("size", [(37, 29), (128, 96)])
def test_edges_are_opencvs(size, smooth):
    cv2 = pytest.importorskip("cv2")
    x = picture(*size, smooth)
    found = edges(x)
    expected = cv2.Canny(levels(x), 100, 200)
    assert 0 < found.mean() < 1
    np.testing.assert_array_equal(levels(found)[..., 0], expected)


def test_the_edge_of_a_step_is_one_line():
    x = torch.zeros(1, 3, 9, 12)
    x[..., 5:] = 1
    found = edges(x)
    assert found[..., 4].eq(1).all() + found[..., 5].eq(1).all() == 1
    assert found.sum() == 3 * 9


def test_a_weak_edge_counts_where_it_meets_a_strong_one():
    """Sobel's filter gives four times the step: 40 levels are 160, 60 are 240."""
    x = torch.zeros(1, 3, 10, 12)
    x[..., :, 6:] = 40 / 255
    assert edges(x).sum() == 0
    x[..., :3, 6:] = 60 / 255
    assert edges(x)[0, 0].amax(1).eq(1).sum() == 10


@pytest.mark.parametrize("sigma", [2.0, 9.0])
def test_a_blur_is_a_gaussian(sigma):
    """Of a single white pixel; and OpenCV's, of 8 bits."""
    x = torch.zeros(1, 3, 75, 75, dtype=torch.float64)
    x[..., 37, 37] = 1
    found = blur(x, sigma)[0, 0]
    spread = (torch.arange(75.0, dtype=torch.float64) - 37).square()
    assert (found.sum(0) * spread).sum().sqrt().item() == pytest.approx(sigma, rel=0.02)
    assert found[37, 38] / found[37, 37] == pytest.approx(np.exp(-0.5 / sigma**2))
    torch.testing.assert_close(blur(torch.full((1, 3, 8, 9), 0.3)), torch.full((1, 3, 8, 9), 0.3))


def test_a_tile_keeps_the_means():
    flat = torch.full((1, 3, 13, 18), 0.7)
    torch.testing.assert_close(tile(flat), flat)
    x = picture(40, 32)
    assert tile(x).shape == x.shape
    assert tile(x).std() < 0.5 * x.std()


def test_grey_is_the_luminance():
    x = torch.eye(3)[None, :, :, None].expand(1, 3, 3, 2)  # a red row, a green one, a blue one
    expected = torch.tensor([0.299, 0.587, 0.114])[:, None].expand(3, 2)
    torch.testing.assert_close(grey(x), expected.expand(1, 3, 3, 2))


@pytest.mark.parametrize("name", HINTS)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (37, 29)])
def test_every_hint_is_of_the_size_of_its_picture_and_in_its_range(name, size):
    x = picture(*size)
    found = HINTS[name](x)
    assert found.shape == x.shape
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
