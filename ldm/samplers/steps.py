"""Two ways to add noise in a step, which several samplers share."""

from torch import Tensor

from .noise import Noise


def ancestral(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(sigma_down, sigma_up) with sigma_down^2 + sigma_up^2 = sigma_next^2: go down to sigma_down
    without noise, then add noise of sigma_up.

    eta = 1 gives the posterior of the forward process,
        sigma_up^2 = sigma_next^2 (sigma^2 - sigma_next^2) / sigma^2,
    eta = 0 no noise at all. Ho et al. 2020, eq. 7, and Song et al. 2021 (DDIM), eq. 16, divided by
    sqrt(a).
    """
    sigma_up = min(sigma_next, eta * sigma_next * (1 - (sigma_next / sigma) ** 2) ** 0.5)
    return (sigma_next**2 - sigma_up**2) ** 0.5, sigma_up


def churn(
    x: Tensor,
    sigma: float,
    noise: Noise,
    s_churn: float,
    s_tmin: float,
    s_tmax: float,
    s_noise: float,
) -> tuple[Tensor, float]:
    """Before a step at s_tmin <= sigma <= s_tmax raise the noise level to sigma (1 + gamma).

    s_churn: S_churn over the number of steps, gamma = min(s_churn, sqrt(2) - 1); s_noise: the scale
    of the new noise. Karras et al. 2022, algorithm 2, lines 4-6.
    """
    if s_churn == 0 or not s_tmin <= sigma <= s_tmax:
        return x, sigma
    sigma_hat = sigma * (1 + min(s_churn, 2**0.5 - 1))
    return x + s_noise * (sigma_hat**2 - sigma**2) ** 0.5 * noise(x), sigma_hat
