"""Many pictures: requests as jobs of the right size, and what happens while they are drawn, as
events. Whoever listens prints them, saves them or sends them on.

    jobs = plan(model, requests, size=4)
    for event in draw(model, jobs[0], preview_every=5):
        match event: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..images.saving import to_pil
from ..images.watermark import marked
from ..request import Request
from ..runtime.finite import NotFinite
from .activations import room
from .events import Event, Finished, Preview, Stepped
from .job import Job
from .merging import merged
from .run import run
from .streams import continued

if TYPE_CHECKING:
    from PIL.Image import Image

    from .model import LatentDiffusion


def draw(
    model: LatentDiffusion, job: Job, preview_every: int | None = None,
    look: Callable[[Tensor], Tensor] | None = None, record: list[Tensor] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """What happens while a job is drawn in one batch.

    preview_every, look   after so many steps a preview of each picture, decoded by `look`, see
                          `LatentDiffusion.decode` and `LinearPreview`
    record                see `run`
    """
    look = model.decode if look is None else look
    for step in run(model, job, record):
        yield Stepped(step)
        if preview_every is not None and (step.index + 1) % preview_every == 0:
            for i, image in enumerate(job.request.kept(to_pil(look(step.denoised)))):
                yield Preview(i, step.index + 1, image)
    pictures = [*zip(finish(model, job, step.x), job.singles())]
    for i, (image, request) in enumerate(job.request.kept(pictures)):
        yield Finished(i, image, request)


def finish(model: LatentDiffusion, job: Job, latents: Tensor) -> list[Image]:
    """Clean latents of a job as 8-bit pictures: put back where they were cut from, and marked.
    NotFinite: one is black all over."""
    request, truncate = job.request, job.profile.truncate
    images = model.decode(latents, request.tile, request.seamless)
    if (images.amax((1, 2, 3)) == -1).any():
        what = "a picture is black all over, and was not kept: try --dtype float32"
        raise NotFinite(f"{what}, or a smaller --scale")
    finished = to_pil if job.init is None else job.init.finish
    pictures = finished(images, truncate)
    text = request.watermark
    return pictures if text is None else [marked(picture, text) for picture in pictures]


def plan(
    model: LatentDiffusion,
    requests: Sequence[Request],
    size: int,
    images: Mapping[str, Image] | None = None,
    masks: Mapping[str, Image] | None = None,
) -> list[Job]:
    """The pictures of requests as jobs of at most `size` pictures, or fewer if memory is short.

    Neighbours are merged, and then every request is resolved once. images, masks: those that are
    open already, by their names.
    """
    jobs: list[Job] = []
    for request in merged(requests, size) if len(requests) > 1 else requests:
        image, mask = (images or {}).get(str(request.image)), (masks or {}).get(str(request.mask))
        job = model.resolve(request, image, mask)
        if request.only is not None and job.per_image:
            jobs.append(job.split(1)[request.only])
        else:
            jobs += job.split(min(size, batch_size(model, job, size)))
    return list(continued(jobs)) if any(job.profile.one_stream for job in jobs) else jobs


def batch_size(model: LatentDiffusion, job: Job, most: int = 16) -> int:
    """How many pictures of a job memory has room for at once, of so many that are wanted.

    All of them where they share their noise. One where its batch would show in it: on a CPU a
    convolution of one latent is rounded otherwise than of several, so that there the network must
    never be called on a single one, without guidance.
    """
    alone = not job.guided or job.request.guidance_interval is not None
    if not job.per_image:
        most = job.request.total
    elif job.passes[-1].sampler.adaptive or (model.device.type == "cpu" and alone):
        most = 1
    if model.memory is not None:
        return model.memory.planned(model, job, most)
    return most if most == 1 or not job.per_image else min(most, room(model, job))
