"""What a model is asked for: the methods of `LatentDiffusion` that make pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..request import Request
from ..runtime.text import short
from ..samplers import Step
from .asking import asked
from .batches import batch_size, finish
from .job import Job
from .making import add_making
from .run import run

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import Unpack

    from ..models.lora import Matched
    from ..request.typed import InpaintOptions, Options
    from .init_image import Picture
    from .model import LatentDiffusion

    Prompt = str | Sequence[str]


def txt2img(
    model: LatentDiffusion,
    prompt: Prompt,
    *,
    batch: int | None = None,
    fast: bool = False,
    **options: Unpack[Options],
) -> list[Image]:
    """Pictures of a prompt, or of each of several. The options are the fields of `Request`:
    negative, steps, sampler, schedule, guidance_scale, seed, width, height, count, ...; they may
    be called as their flags are (cfg_scale). seed=-1 draws a seed: `image.info` says which.
    fast: whatever of them is not given is what `faster` takes, as in a model loaded so."""
    return model.generate(asked(model, fast, prompt=prompt, **options), batch=batch)


def img2img(
    model: LatentDiffusion,
    prompt: Prompt,
    image: Picture,
    strength: float | None = None,
    *,
    batch: int | None = None,
    fast: bool = False,
    **options: Unpack[Options],
) -> list[Image]:
    """Pictures that start from a picture: strength 0 gives it back, 1 leaves next to nothing
    of it. Without width and height the next smaller size that the model takes."""
    needed(image, "a picture to start from; txt2img draws from noise")
    request = asked(model, fast, prompt=prompt, strength=strength, **options)
    return model.generate(request, image, batch)


def inpaint(
    model: LatentDiffusion,
    prompt: Prompt,
    image: Picture,
    mask: Picture,
    *,
    batch: int | None = None,
    fast: bool = False,
    **options: Unpack[InpaintOptions],
) -> list[Image]:
    """A picture drawn anew where the mask is white; strength < 1 leaves something of what was
    there. Where it is black not a bit changes, unless it is feathered: an object that is to go is
    masked with its soft edge and its shadow, or they stay around it. Options: mask_blur, feather,
    masked_content, inpaint_only_masked, masked_padding, and all others.

    A mask of another size is scaled to the picture. A picture whose sides the model cannot do, or
    that is smaller than those of its training, is drawn at a size that it can, and what is new is
    scaled back, see `init_image.drawn_size`."""
    needed(image, "a picture to inpaint")
    needed(mask, "a mask, white where it is drawn anew")
    return model.generate(asked(model, fast, prompt=prompt, **options), image, batch, mask)


def outpaint(
    model: LatentDiffusion,
    prompt: Prompt,
    image: Picture,
    *,
    batch: int | None = None,
    fast: bool = False,
    **options: Unpack[InpaintOptions],
) -> list[Image]:
    """A picture continued by so many pixels: left, right, top, bottom. Others as `inpaint`; but
    mask_blur is the family's, up to half of these."""
    needed(image, "a picture to continue")
    request = asked(model, fast, prompt=prompt, **options)
    if not any((request.left, request.right, request.top, request.bottom)):
        raise ValueError("say where to go on, in pixels: left, right, top, bottom")
    return model.generate(request, image, batch)


def needed(given: object, what: str) -> None:
    if given is None:
        raise ValueError(f"give {what}, not None")


def of_request(given: object) -> None:
    if not isinstance(given, Request | Job):
        what = type(given).__name__
        raise ValueError(f"give a Request, not {what}: Request('a cat')")


def generate(
    model: LatentDiffusion,
    request: Request | Job,
    image: Picture | None = None,
    batch: int | None = None,
    mask: Picture | None = None,
) -> list[Image]:
    """The pictures of a request, `batch` at once; None: as memory allows. See `making`."""
    of_request(request)
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise ValueError(f"batch must be a whole number of at least 1, not {short(batch)}")
    job = model.resolve(request, image, mask) if isinstance(request, Request) else request
    pictures: list[Image] = []
    if batch is None:
        batch = batch_size(model, job)
    elif model.memory is not None:
        batch = model.memory.planned(model, job, batch)
    for part in job.split(batch):
        for step in run(model, part):
            latents = step.x
        drawn = finish(model, part, latents)
        singles = part.singles()
        add_making(drawn, singles, [part.about(model, single) for single in singles])
        pictures += drawn
    return list(job.request.kept(pictures))


def steps(
    model: LatentDiffusion,
    request: Request | Job,
    image: Picture | None = None,
    record: list[Tensor] | None = None,
    **given: Any,
) -> Iterator[Step]:
    """Step after step of all the pictures of a request, in one batch: `step.denoised` can be
    decoded as a preview, and the last step's x are the clean latents.

    given    latents, noise, conditioning: see `Given`
    record   every result of the denoiser is added to it; what it holds already is not computed
             again (`recorded`)
    """
    of_request(request)
    job = model.resolve(request, image, **given) if isinstance(request, Request) else request
    if model.memory is not None:
        model.memory.planned(model, job, job.request.total, together=True)
    return run(model, job, record)


def lora(
    model: LatentDiffusion, path: str | Path, strength: float = 1.0, text: float | None = None
) -> AbstractContextManager[Matched]:
    """Within the block the weights are those of a LoRA, too, at a strength, and for the text
    encoders at another if it is given; afterwards they are the same bits as before.

        with model.lora("fur.safetensors", 0.8):
            images = model.txt2img("a red star")
    """
    from .loras import held

    return held(model, path, strength, strength if text is None else text)
