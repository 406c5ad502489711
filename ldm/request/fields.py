"""The fields of a request: a flag each. Groups of them, as `--help` has them."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.options import option

SIDE, MARGIN, SIGMA = (1, 2**15), (0, 2**15), (0, 10**4)  # bounds: pixels, pixels, noise levels
PROMPT_SYNTAXES = ("a1111", "comfyui", "off")  # off: all is text

# fmt: off


@dataclass(frozen=True)
class Subject:
    """what to draw"""

    prompt: str | tuple[str, ...] = option("", "what to draw", "--prompt", several=True)
    negative: str | tuple[str, ...] = option("",
        "what to draw away from", "--negative_prompt", several=True)
    seed: int = option(42,
        "where the noise of the first picture comes from", "--seed", bounds=(0, 2**64 - 1))
    width: int | None = option(None,
        "of the picture, in pixels", "--W", "--width", bounds=SIDE, left_open="the model's")
    height: int | None = option(None,
        "of the picture, in pixels", "--H", "--height", bounds=SIDE, left_open="the model's")
    count: int = option(1, "pictures of each prompt", bounds=(1, 10**6))


@dataclass(frozen=True)
class Sampling:
    """sampling"""

    steps: int | None = option(None,
        "denoising steps", "--steps", "--ddim_steps", bounds=(1, 1000), left_open="the model's")
    sampler: str | None = option(None,
        "the method of sampling", "--sampler", left_open="the model's")
    schedule: str | None = option(None,
        "how the noise levels are spaced", "--schedule", left_open="the model's")
    eta: float | None = option(None,
        "noise added in each step, by the samplers that can", "--ddim_eta", bounds=(0, 10),
        left_open="the sampler's")
    s_churn: float | None = option(None,
        "noise added before steps, by some samplers", "--s_churn", bounds=(0, 1000),
        left_open="the sampler's")
    s_tmin: float | None = option(None,
        "the lowest noise level with churn", "--s_tmin", bounds=SIGMA, left_open="the sampler's")
    s_tmax: float | None = option(None,
        "the highest noise level with churn", "--s_tmax", bounds=SIGMA, left_open="the sampler's")
    s_noise: float | None = option(None,
        "the scale of all noise added on the way", "--s_noise", bounds=(0, 10),
        left_open="the sampler's")
    cache: int | None = option(None,
        "compute the depth of the U-Net in every N-th call only, and hold it in between",
        "--cache", "--cache_interval", bounds=(1, 100), left_open="1: in each call")
    zero_snr: bool = option(False,
        "let the noise levels end in pure noise, for a model so trained", "--zero_snr")


@dataclass(frozen=True)
class Guidance:
    """guidance"""

    guidance_scale: float | None = option(None,
        "how strongly the prompt guides; 1: no guidance", "--scale", "--guidance_scale",
        "--cfg_scale", bounds=(-1000, 1000), left_open="the model's")
    guidance_rescale: float = option(0,
        "how much of the contrast that guidance adds to undo", "--guidance_rescale", bounds=(0, 1))
    guidance_interval: tuple[float, float] | None = option(None,
        "guide only at noise levels LOW < sigma <= HIGH", "--guidance_interval", bounds=SIGMA,
        metavar=("LOW", "HIGH"), left_open="everywhere")


@dataclass(frozen=True)
class Told:
    """what SDXL is told"""

    original_size: tuple[int, int] | None = option(None,
        "that the picture was of this width and height", "--original_size",
        bounds=SIDE, whole=True, left_open="the picture's")
    crop: tuple[int, int] | None = option(None,
        "that the picture was cut here, from the left and the top", "--crop",
        bounds=MARGIN, whole=True, metavar=("X", "Y"), left_open="0 0")
    target_size: tuple[int, int] | None = option(None,
        "that this width and height are wanted", "--target_size",
        bounds=SIDE, whole=True, left_open="the picture's")
    aesthetic_score: tuple[float, float] | None = option(None,
        "the refiner: these scores of a picture, and of what to draw away from",
        "--aesthetic_score", bounds=(0, 1000), metavar=("GOOD", "BAD"), left_open="6 2.5")


@dataclass(frozen=True)
class Reading:
    """reading the prompt"""

    prompt_syntax: str | None = option(None,
        "whose prompt grammar and attention weighting", "--prompt_syntax", "--emphasis",
        choices=PROMPT_SYNTAXES, left_open="a1111, or that of --compat")
    clip_skip: int | None = option(None,
        "layer of the text encoder: 1 the last, 2 the one before; counted as --compat does",
        "--clip_skip", bounds=(1, 100),
        left_open="the model's")
    wildcards: str | None = option(None,
        "folder of word lists: NAME.txt for __NAME__ in a prompt", "--wildcards",
        left_open="none", file=True)


@dataclass(frozen=True)
class FromPicture:
    """from a picture"""

    image: str | None = option(None,
        "the picture to start from", "--init-img", "--image", left_open="none", file=True)
    strength: float | None = option(None,
        "how far to leave the picture", "--strength", bounds=(0, 1),
        left_open="the model's; 1 with a mask")
    full_steps: bool = option(False,
        "run all the steps, not round(steps * strength) of them", "--full_steps", "--exact_steps")
    color_correction: bool = option(False,
        "give the result the picture's mean colours and contrast", "--color_correction",
        "--match_colours")
    colourise: bool = option(False,
        "keep the picture's luminance, draw the colour", "--colourise")
    mask: str | None = option(None,
        "the file of a mask: white is inpainted", "--mask", left_open="none", file=True)
    mask_blur: float | None = option(None,
        "soften the mask's edge inwards, in pixels", "--mask_blur", bounds=(0, 1000),
        left_open="0; of what outpainting adds the model's")
    feather: bool = option(False,
        "soften the mask's edge outwards too", "--feather")
    masked_content: str = option("original",
        "what the masked part starts from", "--masked_content", "--repaint_from",
        choices=("original", "fill", "noise"))
    inpaint_only_masked: bool = option(False,
        "draw the masked part alone, larger", "--inpaint_only_masked", "--only_masked")
    masked_padding: int = option(32,
        "pixels around the mask that --inpaint_only_masked looks at", "--masked_padding",
        "--padding", bounds=(0, 2**15))
    upscale: float | None = option(None,
        "make the picture so many times as large; 0: 2, or as an upscaler does", "--upscale",
        "--enlarge", bounds=(0, 100))
    upscaler: str | None = option(None,
        "the file of an upscaler, which enlarges the picture first", "--upscaler",
        left_open="Lanczos", file=True)
    noise_level: int | None = option(None,
        "of the noise on the picture: an upscaler's, to 350; or that of a model that varies it",
        "--noise_level", bounds=(0, 999), left_open="20; 0")
    image_guidance_scale: float | None = option(None,
        "how strongly a picture that is edited guides", "--image_guidance_scale",
        "--image_cfg_scale", bounds=(0, 1000), left_open="1.5")
    depth: str | None = option(None,
        "a depth picture, white near; or .npy", "--depth", left_open="estimated", file=True)
    depth_model: str | None = option(None,
        "what estimates it", "--depth_model", file=True,
        left_open="that in the model's file, or Intel/dpt-hybrid-midas")
    left: int = option(0, "pixels to add on the left", "--left", bounds=MARGIN)
    right: int = option(0, "pixels to add on the right", "--right", bounds=MARGIN)
    top: int = option(0, "pixels to add at the top", "--top", bounds=MARGIN)
    bottom: int = option(0, "pixels to add below", "--bottom", bounds=MARGIN)


@dataclass(frozen=True)
class Passes:
    """size and further passes"""

    hires: float | None = option(None,
        "then enlarge by this factor and draw on", "--hires", bounds=(1, 16))
    hires_steps: int | None = option(None,
        "steps of the second pass", "--hires_steps", bounds=(1, 1000), left_open="the first's")
    hires_strength: float | None = option(None,
        "strength of the second pass", "--hires_strength", bounds=(0, 1), left_open="the model's")
    hires_upscaler: str | None = option(None,
        "what is enlarged between the passes: the latent; the picture (pixels); or that by an "
        "upscaler's file", "--hires_upscaler", file=True, words=("latent", "pixels"),
        left_open="the model's")
    refiner: str | None = option(None,
        "the file of a model that draws the last steps", "--refiner", left_open="none", file=True)
    refiner_start: float = option(0.8,
        "what part of the training steps is done when the refiner goes on", "--refiner_start",
        bounds=(0, 1))
    tile: int | None = option(None,
        "draw in overlapping tiles of so many pixels", "--tile", bounds=SIDE)
    seamless: str | None = option(None,
        "directions in which the picture joins itself", "--seamless", "--tiling",
        choices=("x", "y", "xy"))


@dataclass(frozen=True)
class Noise:
    """noise, and other programs"""

    subseed_strength: float = option(0,
        "how far to go towards the noise of the subseed", "--subseed_strength", "--variation",
        bounds=(0, 1))
    subseed: int = option(0,
        "one for all pictures", "--subseed", "--variation_seed", bounds=(0, 2**64 - 1))
    seed_resize_from: tuple[int, int] | None = option(None,
        "width and height in pixels that the seed's noise is made for", "--seed_resize_from",
        bounds=SIDE, whole=True, left_open="the picture's")
    compat: str | None = option(None,
        "draw as another program does: a1111, a1111_cpu, comfyui, diffusers or compvis", "--compat",
        left_open="as this library does")
    noise_offset: int = option(0,
        "draws of the noise that earlier batches of one stream made", "--noise_offset", "--skip",
        bounds=(0, 10**6))
    ensd: int = option(0,
        "A1111's: added to the seed for all noise but the first", "--ensd", bounds=(0, 2**32))


@dataclass(frozen=True)
class Result:
    """the result"""

    only: int | None = option(None,
        "keep only this picture of the batch, counted from 0", bounds=(0, 10**6))
    watermark: str | None = option(None,
        "hide a text in the picture (Stable Diffusion's)", "--watermark",
        bare="StableDiffusionV1", left_open="none")
