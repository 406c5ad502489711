"""The losses of training by hand, and the steps that it draws."""

import math

import pytest
import torch

from ldm.training.loop import step_generator
from ldm.training.losses import gradient_difference_loss, kl_loss, pixel_losses, reconstruction_loss
from ldm.training.stages import draw_steps


def test_losses_by_hand():
    black, grey = torch.full((1, 3, 8, 8), -1.0), torch.zeros(1, 3, 8, 8)
    assert reconstruction_loss(grey, black).item() == pytest.approx(1 + 1)
    assert gradient_difference_loss(grey, black).item() == 0, "a shade has no edges"
    step = grey.clone()
    # one edge of height 1: in 1 of 7, 1 of 3 and 1 of 1 places across, at three resolutions
    step[..., 4:] = 1
    assert gradient_difference_loss(step, grey).item() == pytest.approx((1 / 7 + 1 / 3 + 1) / 3)
    mean, deviation = torch.tensor([2.0]), torch.tensor([0.5])
    known = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0.0, 1.0)
    )
    assert kl_loss(mean, deviation.square().log()).item() == pytest.approx(known.item())


def test_the_pixel_losses_are_added_with_their_weight():
    decoded, target = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    terms = pixel_losses(decoded, target, 0.5)
    edges = gradient_difference_loss(decoded, target)
    assert torch.equal(terms["gradient_difference"], edges)
    assert torch.equal(terms["loss"], reconstruction_loss(decoded, target) + 0.5 * edges)


def test_middle_steps_are_drawn_more_often():
    drawn = draw_steps(20_000, 1000, step_generator(0, 0))
    assert set(range(100, 900)) <= set(drawn.tolist()) <= set(range(1000))
    quarters = torch.histc(drawn.float(), bins=4, min=0, max=1000) / 20_000
    # a normal variable above the one whose sigmoid is 3/4
    outer = 0.5 * math.erfc(math.log(3) / math.sqrt(2))
    assert quarters.tolist() == pytest.approx([outer, 0.5 - outer, 0.5 - outer, outer], abs=0.015)
