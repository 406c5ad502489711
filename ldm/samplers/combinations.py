"""More ways to combine what the network says of several branches: of several prompts, with less
contrast, at some noise levels only."""

from torch import Tensor

from .denoiser import Denoiser
from .guidance import Combine


def composable_guidance(weights: Tensor, scale: float) -> Combine:
    """Guidance by P prompts:  D = D(negative) + scale * sum over p of w_p (D(p) - D(negative)).

    weights (P, B). Liu et al. 2022, "Compositional visual generation with composable diffusion
    models", eq. 11. A single prompt of weight 1 is `cfg`.
    """
    pulls = scale * weights[..., None, None, None]
    return lambda denoised, x, sigma: denoised[0] + (pulls * (denoised[1:] - denoised[0])).sum(0)


def picture_and_text_guidance(scale: float, picture_scale: float) -> Combine:
    """Guidance by a picture and by what is said of it, of three branches: neither, the picture, the
    picture and the prompt.

    D = D(neither) + picture_scale * (D(picture) - D(neither)) + scale * (D(both) - D(picture))

    Brooks et al. 2023 (InstructPix2Pix), eq. 3.
    """

    def combine(denoised: Tensor, x: Tensor, sigma: float) -> Tensor:
        neither, picture, both = denoised.unbind()
        return neither + picture_scale * (picture - neither) + scale * (both - picture)

    return combine


def guidance_rescale(guided: Combine, plain: Combine, phi: float) -> Combine:
    """Guidance with the contrast it would have without, phi of it; the rest is plain guidance.

    Guidance raises the contrast, which overexposes. Lin et al. 2023, eq. 15 and 16, scale the
    network's output by std(without guidance) / std(guided) of each picture. Their network predicts
    v, so for all models it is done in v = (x / (1 + sigma^2) - D) sqrt(1 + sigma^2) / sigma, whose
    last factor cancels.
    """

    def combine(denoised: Tensor, x: Tensor, sigma: float) -> Tensor:
        middle = x / (1 + sigma**2)
        v_guided, v_plain = (middle - way(denoised, x, sigma) for way in (guided, plain))
        ratio = v_plain.std((1, 2, 3), keepdim=True) / v_guided.std((1, 2, 3), keepdim=True)
        return middle - v_guided * (phi * ratio + 1 - phi)

    return combine


def guidance_interval(guided: Denoiser, plain: Denoiser, low: float, high: float) -> Denoiser:
    """Guidance at noise levels low < sigma <= high only. Kynkäänniemi et al. 2024, sec. 3.

    It harms variety at high noise levels and is largely unnecessary at low ones. This chooses
    between two denoisers, not two combinations, as `plain` then has fewer rows to compute.
    """
    return lambda x, sigma: guided(x, sigma) if low < sigma <= high else plain(x, sigma)
