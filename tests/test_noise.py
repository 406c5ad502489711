"""Noise: one generator for each picture, and Brownian paths that are functions of the seed
alone."""

import math
from itertools import pairwise

import pytest
import torch

from ldm.samplers import Noise
from ldm.samplers.brownian import on_grid

SEEDS = [3, 0, 2**64 - 1, 41]
GOLDEN = [
    [1.926915, 0.784587, 0.222454],
    [-0.685482, 0.08791, 0.517973],
    [0.75145, 0.743673, -0.32296],
    [0.135465, -0.949468, -0.629648],
]
SIGMAS = [14.614641, 5.0, 1.7, 0.4, 0.0292, 0.0]


def batch(count: int, side: int = 8, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(count, 4, side, side, dtype=dtype)


def increment(noise: Noise, x: torch.Tensor, start: float, end: float) -> torch.Tensor:
    return noise.path(x, start, end) * math.sqrt(abs(start - end))


def test_the_first_draw_is_torchs_own_for_that_seed() -> None:
    expected = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(41))
    assert torch.equal(Noise([41])(batch(1))[0], expected)


@pytest.mark.parametrize("position", range(4))
def test_a_picture_does_not_depend_on_its_batch(position: int) -> None:
    together, alone = Noise(SEEDS), Noise(SEEDS[position : position + 1])
    for start, end in pairwise(SIGMAS):
        assert torch.equal(together(batch(4))[position], alone(batch(1))[0])
        assert torch.equal(
            together.path(batch(4), start, end)[position], alone.path(batch(1), start, end)[0]
        )


def test_noise_is_what_it_always_was() -> None:
    """Whoever made a picture with a seed must get it again: these numbers may never change."""
    noise = Noise([42])
    draws = [
        noise(batch(1)),
        noise(batch(1)),
        noise.path(batch(1), 14.614641, 5.0),
        noise.path(batch(1), 0.1, 0.0),
    ]
    for draw, values in zip(draws, GOLDEN, strict=True):
        assert draw[0, [0, 1, 3], [0, 4, 7], [0, 2, 7]].tolist() == pytest.approx(values, abs=1e-5)


def test_draws_follow_one_another_and_come_in_the_dtype_of_x() -> None:
    noise, wide = Noise([1]), Noise([1])
    first, second = noise(batch(1)), noise(batch(1))
    assert not torch.equal(first, second)
    assert torch.equal(
        wide(batch(1, dtype=torch.float64)), first.double()
    )  # drawn in float32 all the same
    assert wide.path(batch(1, dtype=torch.float64), 2, 1).dtype == torch.float64


def test_a_path_does_not_depend_on_what_was_drawn_or_asked_before() -> None:
    used = Noise([7])
    used(batch(1))
    for sigma in (0.001, 3.3, 14.0, 0.7):
        used.path(batch(1), sigma, 2.0)
    assert torch.equal(used.path(batch(1), 5.0, 1.7), Noise([7]).path(batch(1), 5.0, 1.7))
    assert torch.equal(
        used(batch(1, 6)), [(n := Noise([7]))(batch(1)), n(batch(1, 6))][1]
    )  # nor the other way round


def test_increments_add_up_under_any_subdivision() -> None:
    noise, x = Noise([5]), batch(1)
    for cuts in ([8.0, 0.5], [8.0, 4.0, 2.0, 1.0, 0.5], [8.0, 7.9, 3.14159, 3.1, 0.501, 0.5]):
        cuts = [on_grid(cut) for cut in cuts]
        total = sum(increment(noise, x, a, b) for a, b in pairwise(cuts))
        assert torch.allclose(total, increment(noise, x, 8.0, 0.5), atol=1e-5)


def test_the_grid_of_a_path_is_fine_and_keeps_its_ends() -> None:
    for sigma in (14.614641, 0.029167, 1e-4, 4518.0):
        assert on_grid(sigma) == pytest.approx(sigma, rel=2**-14)
    assert [on_grid(sigma) for sigma in (-1.0, 0.0, 1.0, 1e9)] == [0.0, 0.0, 1.0, 2.0**14]


def test_swapping_the_ends_changes_the_sign_and_no_step_is_no_noise() -> None:
    noise, x = Noise([5]), batch(1)
    assert torch.equal(noise.path(x, 3.0, 1.0), -noise.path(x, 1.0, 3.0))
    assert noise.path(x, 3.0, 3.0).abs().max() == 0


def test_a_path_starts_at_zero_and_is_held_at_its_ends() -> None:
    noise, x = Noise([5]), batch(1)
    assert torch.equal(noise.path(x, 1.0, 0.0), noise.path(x, 1.0, -1.0))
    assert noise.path(x, 1e9, 0.0).isfinite().all()


def test_increments_are_standard_normal_and_independent_where_they_do_not_overlap() -> None:
    noise, x = (
        Noise([11]),
        batch(1, 128),
    )  # 65536 numbers: 4 standard errors of a correlation are 0.016
    steps = torch.stack(
        [noise.path(x, a, b).flatten() for a, b in pairwise(SIGMAS)] + [noise(x).flatten()]
    )
    assert torch.allclose(
        torch.cov(steps), torch.eye(len(steps)), atol=0.023
    )  # 4 of a variance are 0.022
    assert steps.mean(1).abs().max() < 0.016
    assert steps.pow(4).mean(1).sub(3).abs().max() < 0.16


def test_overlapping_increments_are_correlated_as_their_overlap() -> None:
    noise, x = Noise([11]), batch(1, 128)
    whole, upper = noise.path(x, 4.0, 1.0), noise.path(x, 4.0, 3.0)
    assert (whole * upper).mean().item() == pytest.approx(math.sqrt(1 / 3), abs=0.02)


def test_pictures_of_neighbouring_seeds_are_unrelated() -> None:
    noise, x = Noise([0, 1]), batch(2, 128)
    for first, second in (noise(x), noise.path(x, 5.0, 1.0)):
        assert abs((first * second).mean().item()) < 0.016


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    noise = Noise([1])
    noise(batch(1)), noise.path(batch(1), 2.0, 1.0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_impossible_seeds_and_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="seed -1 is out of range"):
        Noise([-1])
    with pytest.raises(ValueError, match="out of range"):
        Noise([2**64])
    with pytest.raises(ValueError, match="batch of 2 with 1 seeds"):
        Noise([1])(batch(2))
    with pytest.raises(ValueError, match="batch of 2 with 1 seeds"):
        Noise([1]).path(batch(2), 2.0, 1.0)
