"""ModelDenoiser and its loss for networks that are exactly right.

For Gaussian data N(MU, S^2) the expected clean latent is known:

    D(x, sigma) = MU + S^2 / (S^2 + sigma^2) (x - MU)
"""

import pytest
import torch

from ldm.conditioning import Conditioning
from ldm.samplers import ModelDenoiser, NoiseSchedule, scaled_linear_betas

MU, S = 0.7, 1.3
SCHEDULE = NoiseSchedule(scaled_linear_betas())
CONTEXT = torch.zeros(3, 7, 5, dtype=torch.float64)
PREDICTIONS = pytest.mark.parametrize("prediction", ["eps", "v", "x0"])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(x: torch.Tensor, sigma: torch.Tensor, spread: float = S) -> torch.Tensor:
    return MU + spread**2 / (spread**2 + sigma**2) * (x - MU)


def exact_network(prediction: str, spread: float = S):
    """What a network would say that had learnt N(MU, spread^2) by heart."""

    def network(x, t, context):
        sigma = torch.tensor([SCHEDULE.sigma(float(step)) for step in t], dtype=x.dtype)[
            :, None, None, None
        ]
        a = 1 / (1 + sigma**2)
        clean = gaussian(x / a.sqrt(), sigma, spread)
        noise = (x - a.sqrt() * clean) / (1 - a).sqrt()
        return targets(noise, clean, a)[prediction]

    return network


def targets(noise: torch.Tensor, clean: torch.Tensor, a: torch.Tensor) -> dict[str, torch.Tensor]:
    """What is to be predicted."""
    return {"eps": noise, "v": a.sqrt() * noise - (1 - a).sqrt() * clean, "x0": clean}


@PREDICTIONS
@pytest.mark.parametrize("sigma", [SCHEDULE.sigma_min, 0.31, 1.0, 7.7, SCHEDULE.sigma_max])
def test_the_exact_network_gives_the_exact_denoiser(prediction, sigma):
    model = ModelDenoiser(exact_network(prediction), SCHEDULE, prediction)
    x = MU + (S**2 + sigma**2) ** 0.5 * normal(3, 4, 5, 6)
    torch.testing.assert_close(
        model(x, sigma, CONTEXT), gaussian(x, torch.tensor(sigma)), rtol=1e-4, atol=1e-4
    )


@PREDICTIONS
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_no_loss_for_the_network_that_knows_the_only_picture(prediction, gamma):
    """Where the data are one point, its noisy versions tell their noise exactly."""
    model = ModelDenoiser(exact_network(prediction, spread=0), SCHEDULE, prediction)
    clean, noise, t = (
        torch.full((3, 4, 5, 6), MU, dtype=torch.float64),
        normal(3, 4, 5, 6),
        torch.tensor([0, 500, 999]),
    )
    assert model.loss(clean, CONTEXT, t, noise, gamma).abs().max() < 1e-12
    assert model(clean + 2.0 * noise, 2.0, CONTEXT).allclose(clean)


@PREDICTIONS
def test_the_loss_is_a_mean_of_squares(prediction):
    """Of the noise alone for a network that says 0 and predicts the noise."""
    model = ModelDenoiser(lambda x, t, context: torch.zeros_like(x), SCHEDULE, prediction)
    clean, noise, t = normal(3, 4, 5, 6, seed=1), normal(3, 4, 5, 6), torch.tensor([0, 500, 999])
    a = SCHEDULE.alphas_cumprod[t][:, None, None, None]
    target = targets(noise, clean, a)[prediction]
    loss = model.loss(clean, CONTEXT, t, noise)
    assert loss.shape == (3,)
    torch.testing.assert_close(loss, target.square().mean((1, 2, 3)))


@PREDICTIONS
@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_min_snr_weighs_the_error_of_the_clean_latent(prediction, gamma):
    """By min(snr, gamma), whatever it is that the network predicts."""
    model = ModelDenoiser(exact_network(prediction), SCHEDULE, prediction)
    clean, noise, t = (
        normal(4, 3, 5, 6, seed=1),
        normal(4, 3, 5, 6),
        torch.tensor([0, 150, 500, 999]),
    )
    sigma = SCHEDULE.sigmas[t][:, None, None, None]
    errors = (gaussian(clean + sigma * noise, sigma) - clean).square().mean((1, 2, 3))
    expected = (SCHEDULE.sigmas[t] ** -2).clamp(max=gamma) * errors
    torch.testing.assert_close(
        model.loss(clean, CONTEXT, t, noise, gamma), expected, rtol=1e-6, atol=1e-9
    )


def test_the_network_computes_in_the_format_of_the_context_at_one_time_for_all_rows():
    seen = []

    def network(x, t, conditioning):
        seen.append((x.dtype, x.shape, t.tolist(), conditioning))
        return x

    model, context = ModelDenoiser(network, SCHEDULE), CONTEXT[:2].bfloat16()
    given = Conditioning(context, torch.ones(2, 3), torch.ones(2, 1, 8, 8))
    out = model(torch.ones(2, 4, 8, 8), SCHEDULE.sigma(250.5), given)
    assert out.dtype == torch.float32
    assert seen == [(torch.bfloat16, (2, 4, 8, 8), [250.5], given)]
    model(torch.ones(2, 4, 8, 8), 1.0, context)
    assert seen[1][3] == Conditioning(context)  # a bare context stands for one


def test_the_loss_gives_the_network_the_time_of_each_row():
    seen = []

    def network(x, t, conditioning):
        seen.append((t, conditioning.context))
        return x

    t = torch.tensor([0, 500, 999])
    ModelDenoiser(network, SCHEDULE).loss(normal(3, 4, 5, 6), CONTEXT, t, normal(3, 4, 5, 6))
    ((time, context),) = seen
    assert time.equal(t)
    assert context.equal(CONTEXT)


def test_an_unknown_prediction_is_named():
    with pytest.raises(ValueError, match=r"'x1' is unknown: choose one of \('eps', 'v', 'x0'\)"):
        ModelDenoiser(exact_network("eps"), SCHEDULE, "x1")
