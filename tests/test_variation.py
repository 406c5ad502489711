import doctest
import math

import torch

import ldm.samplers.variation
from helpers import assert_same, first_call, latents, normal
from ldm.request import Request
from ldm.samplers import Noise
from ldm.samplers.variation import centred, slerp


def test_doctests():
    assert doctest.testmod(ldm.samplers.variation).failed == 0


def test_slerp_goes_from_one_to_the_other_along_the_circle():
    a, b = normal(2, 4, 16, 16), normal(2, 4, 16, 16, seed=1)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    quarter = slerp(
        torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), torch.tensor([0.0, 2.0]).view(1, 1, 1, 2), 1 / 3
    )
    torch.testing.assert_close(
        quarter.flatten(), torch.tensor([math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)])
    )


def test_the_web_ui_goes_along_a_circle_for_each_column():
    a, b = normal(1, 4, 6, 5), normal(1, 4, 6, 5, seed=1)
    made = slerp(a, b, 0.3, dims=(2,))
    column = slerp(a[:, 1:2, :, 3:4], b[:, 1:2, :, 3:4], 0.3)
    torch.testing.assert_close(made[:, 1:2, :, 3:4], column)
    assert not torch.allclose(made, slerp(a, b, 0.3))


def test_normal_noise_stays_normal_on_the_way():
    a, b = normal(1, 4, 128, 128), normal(1, 4, 128, 128, seed=1)
    for amount in (0.1, 0.5, 0.9):
        assert abs(slerp(a, b, amount).std() - 1) < 0.01
    assert abs((0.5 * a + 0.5 * b).std() - 1) > 0.25  # as a straight line would not


def test_near_parallels_go_straight_and_in_the_right_direction():
    a = normal(1, 1, 8, 8)
    b = a + 1e-3 * normal(1, 1, 8, 8, seed=1)
    torch.testing.assert_close(slerp(a, b, 0.25), 0.75 * a + 0.25 * b)
    torch.testing.assert_close(slerp(a, a, 0.3), a)


def test_each_picture_of_a_batch_by_itself():
    a, b = normal(2, 1, 8, 8), normal(2, 1, 8, 8, seed=1)
    b[0] = a[0]
    together = slerp(a, b, 0.4)
    torch.testing.assert_close(together[1:], slerp(a[1:], b[1:], 0.4))
    torch.testing.assert_close(together[0], a[0])


def test_a_smaller_noise_lies_in_the_middle_of_a_larger():
    small, large = torch.ones(1, 1, 2, 4), torch.zeros(1, 1, 6, 7)
    result = centred(small, large)
    assert result[0, 0, 2:4, 1:5].eq(1).all()
    assert result.sum() == small.sum()
    assert large.eq(0).all()


def test_of_a_larger_noise_the_middle_is_kept():
    large = torch.arange(36.0).view(1, 1, 6, 6)
    torch.testing.assert_close(centred(large, torch.zeros(1, 1, 2, 4)), large[..., 2:4, 1:5])
    both = centred(torch.ones(1, 1, 2, 6), torch.zeros(1, 1, 4, 2))
    assert both[0, 0].tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]


# Through the whole model


def noise(seed, size=8):
    return Noise([seed])(torch.empty(1, 4, size, size))


def first_input(model, request):
    """Without guidance the first noise, at variance 1."""
    return first_call(model, request).x


def test_a_variation_starts_between_two_noises(tiny):
    base = {"guidance_scale": 1, "seed": 5}
    torch.testing.assert_close(
        first_input(tiny, Request(**base, subseed_strength=0.0, subseed=9)), noise(5)
    )
    torch.testing.assert_close(
        first_input(tiny, Request(**base, subseed_strength=1.0, subseed=9)), noise(9)
    )
    middle = first_input(tiny, Request(**base, subseed_strength=0.3, subseed=9))
    torch.testing.assert_close(middle, slerp(noise(5), noise(9), 0.3))


def test_a_small_variation_is_a_similar_picture(tiny):
    def distance(amount):
        varied = latents(tiny, Request("a cat", seed=5, subseed_strength=amount, subseed=9))
        return (varied - latents(tiny, Request("a cat", seed=5))).norm()

    assert 0 < distance(0.05) < distance(0.3) < distance(1.0)


def test_later_noise_is_the_seeds_own(tiny):
    """So that a variation of amount 0 is the picture, whatever the sampler."""
    request = Request("a cat", seed=5, sampler="euler_ancestral")
    varied = Request("a cat", seed=5, sampler="euler_ancestral", subseed_strength=1e-6, subseed=9)
    torch.testing.assert_close(latents(tiny, varied), latents(tiny, request), atol=1e-3, rtol=1e-3)


def test_a_seed_may_bring_its_noise_from_another_size(tiny):
    seen = first_input(
        tiny, Request(guidance_scale=1, seed=5, width=24, height=24, seed_resize_from=(16, 16))
    )
    torch.testing.assert_close(seen, centred(noise(5), noise(5, 12)))
    same = first_input(tiny, Request(guidance_scale=1, seed=5, seed_resize_from=(16, 16)))
    torch.testing.assert_close(same, noise(5))


def test_variations_do_not_depend_on_their_batch(tiny):
    options = {"subseed_strength": 0.2, "subseed": 3, "seed_resize_from": (16, 24)}
    together = latents(tiny, Request("a cat", seed=1, count=3, **options))
    assert_same(together[2:], latents(tiny, Request("a cat", seed=3, **options)))
