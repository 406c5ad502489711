"""The noise of other programs: which numbers they draw, from which seed, in which order."""

from itertools import pairwise

import pytest
import torch

from ldm.compat.noise import NOISES, CompatNoise
from ldm.compat.philox import Philox
from ldm.samplers import Noise

SIGMAS = [14.614641, 5.0, 1.7, 0.4, 0.029167, 0.0]
SEEDS = [42, 43, 44]
X = torch.zeros(3, 4, 8, 8)


def compat(name, seeds=SEEDS):
    return CompatNoise(NOISES[name], seeds, SIGMAS)


def cpu_draws(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def cuda_draws(seed, *shapes):
    generator = Philox(seed)
    return [generator.randn(shape) for shape in shapes]


def test_a1111_draws_each_picture_from_its_own_stream_of_the_gpu():
    noise, own = compat("a1111"), [Philox(seed) for seed in SEEDS]
    for _ in range(3):
        assert torch.equal(noise(X), torch.stack([philox.randn(X.shape[1:]) for philox in own]))


def test_a1111_on_the_cpu_draws_as_this_library_does():
    noise, own = compat("a1111_cpu"), Noise(SEEDS)
    for _ in range(3):
        assert torch.equal(noise(X), own(X))


def test_comfyui_draws_the_first_noise_on_the_cpu_and_the_rest_on_the_gpu_from_the_same_seed():
    noise = compat("comfyui")
    assert torch.equal(noise(X), *cpu_draws(42, X.shape))
    for expected in cuda_draws(42, X.shape, X.shape):
        assert torch.equal(noise(X), expected)


@pytest.mark.parametrize(("name", "draws"), [("diffusers", cpu_draws), ("compvis", cuda_draws)])
def test_diffusers_and_compvis_draw_batch_after_batch_from_one_stream(name, draws):
    noise = compat(name)
    for expected in draws(42, X.shape, X.shape, X.shape):
        assert torch.equal(noise(X), expected)
    noise = compat(name)
    assert torch.equal(noise.path(X, 5.0, 1.7), draws(42, X.shape)[0])  # they know no Brownian path


@pytest.mark.parametrize("name", NOISES)
def test_whether_a_picture_depends_on_its_batch(name):
    together, alone = compat(name), compat(name, SEEDS[1:2])
    same = [torch.equal(together(X)[1], alone(X[:1])[0]) for _ in range(2)]
    same += [torch.equal(together.path(X, 5.0, 1.7)[1], alone.path(X[:1], 5.0, 1.7)[0])]
    assert same == [NOISES[name].per_image] * 3


def test_paths_are_those_of_torchsde():
    """k-diffusion's BrownianTreeNoiseSampler on torchsde 0.2.6, its numbers drawn by Philox; six
    digits of them."""
    expected = {
        (14.614641, 3.1686): [-1.332792, 1.423827, -1.387694, 0.573486, -1.399068, 0.565503],
        (3.1686, 2.5): [0.622617, -0.148279, 1.005486, -0.278383, 1.338373, 0.067492],
        (0.5, 0.7): [-0.436724, 0.330971, -1.55919, -0.642801, -0.095058, 1.000263],
        (0.0413, 0.029167): [-1.230924, 0.249852, 0.810653, 0.182531, -0.607535, 0.756209],
    }
    noise = CompatNoise(NOISES["a1111"], [42, 43], SIGMAS)
    for (start, end), numbers in expected.items():
        increment = noise.path(torch.zeros(2, 1, 1, 3), start, end)
        assert torch.allclose(increment.flatten(), torch.tensor(numbers), atol=1e-6)


@pytest.mark.parametrize("name", ["a1111", "a1111_cpu", "comfyui"])
def test_a_path_is_one_however_it_is_asked(name):
    noise, again = compat(name), compat(name)
    noise(X)
    for start, end in pairwise(SIGMAS[:-1]):
        noise.path(X, start, end)
    assert torch.equal(noise.path(X, 5.0, 1.7), again.path(X, 5.0, 1.7))
    assert torch.equal(noise.path(X, 1.7, 5.0), -noise.path(X, 5.0, 1.7))
    halves = [noise.path(X, a, b) * (a - b) ** 0.5 for a, b in ((5.0, 3.3), (3.3, 1.7))]
    assert torch.allclose(sum(halves), noise.path(X, 5.0, 1.7) * 3.3**0.5, atol=1e-5)
    assert noise.path(X, 3.0, 3.0).abs().max() == 0
    held = noise.path(X, 1.0, 0.029167) * (1 - 0.029167) ** 0.5
    assert torch.allclose(noise.path(X, 1.0, 0.0), held, atol=1e-6)


def test_increments_of_a_path_are_standard_normal():
    noise, x = compat("comfyui", [11]), torch.zeros(1, 4, 128, 128)
    steps = torch.stack([noise.path(x, a, b).flatten() for a, b in pairwise(SIGMAS[:-1])])
    assert torch.allclose(torch.cov(steps), torch.eye(len(steps)), atol=0.023)


def test_the_latent_of_a_picture_is_picked_as_in_the_program():
    mine = {name: compat(name).sample_posterior(X) for name in NOISES}
    assert {name for name, picked in mine.items() if picked is not None} == {"compvis", "diffusers"}
    assert torch.equal(mine["compvis"], *cpu_draws(42, X.shape))
    once, after = cpu_draws(42, X[:1].shape, X.shape)
    noise = compat("diffusers")
    assert torch.equal(noise.sample_posterior(X), once)
    assert torch.equal(noise(X), after)


@pytest.mark.parametrize("name", NOISES)
def test_draws_come_in_the_dtype_of_x_and_leave_the_global_generator_alone(name):
    before = torch.random.get_rng_state()
    narrow, wide = compat(name), compat(name)
    assert torch.equal(narrow(X).double(), wide(X.double()))
    assert torch.equal(narrow.path(X, 5.0, 1.7).double(), wide.path(X.double(), 5.0, 1.7))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_later_batch_goes_on_with_the_stream():
    noise = CompatNoise(NOISES["compvis"], SEEDS, SIGMAS, noise_offset=5)
    for expected in cuda_draws(42, *[X.shape] * 7)[5:]:
        assert torch.equal(noise(X), expected)


def test_eta_noise_seed_delta_is_for_all_noise_but_the_first_and_for_no_path():
    noise, plain = CompatNoise(NOISES["a1111"], SEEDS, SIGMAS, ensd=31337), compat("a1111")
    assert torch.equal(noise(X), plain(X))
    later = [Philox(seed + 31337) for seed in SEEDS]
    for _ in range(2):
        assert torch.equal(noise(X), torch.stack([philox.randn(X.shape[1:]) for philox in later]))
    assert torch.equal(noise.path(X, 5.0, 1.7), plain.path(X, 5.0, 1.7))


def test_diffusers_draws_in_the_number_format_of_the_network():
    noise = CompatNoise(NOISES["diffusers"], SEEDS, SIGMAS, torch.float16)
    generator = torch.Generator().manual_seed(42)
    for _ in range(2):
        assert torch.equal(
            noise(X), torch.randn(X.shape, generator=generator, dtype=torch.float16).float()
        )
    a1111 = CompatNoise(NOISES["a1111_cpu"], SEEDS, SIGMAS, torch.float16)
    assert torch.equal(a1111(X), compat("a1111_cpu")(X))


def test_a_batch_of_another_size_is_refused():
    with pytest.raises(ValueError, match="batch of 3 with 1 seeds"):
        compat("comfyui", [1])(X)
    with pytest.raises(ValueError, match="batch of 3 with 1 seeds"):
        compat("a1111", [1]).path(X, 2.0, 1.0)
