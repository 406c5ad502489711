"""The ControlNets, T2I-Adapters and IP-Adapters that a request asks for, opened and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from ..images.files import open_image, to_tensor
from ..images.hints import HINTS
from ..images.saving import to_pil
from ..models.control import ControlNetwork, read_control
from ..models.meant import only_for
from ..request import Request
from ..runtime.warn import warn
from ..samplers import Network, Noise
from ..unet.ip_adapter import IPAdapter
from ..unet.union import KINDS, UnionControlNet
from .additions import Addition
from .asked_controls import Asked, asked_controls, kind_number
from .control_kinds import FOR_ALL, has_kind, is_pooled, masked_value, numbers_of, with_hole
from .controlled import Controlled, hints
from .given_pictures import GIVEN, GIVEN_NOW, as_picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from .denoise import Clock
    from .job import Job
    from .makers import Complete
    from .model import LatentDiffusion
    from .passes import Pass


@dataclass(frozen=True, eq=False)
class Control:
    """network   the ControlNet or adapter
    picture   that the hint is made from, or that is read, PIL's
    spares    whether the branch of the negative prompt is not controlled
    tokens    (2, N, D) of an IP-Adapter: those of no picture, which the branch of the negative
              prompt reads, and those of the picture
    pooled    whether what the network says is averaged over the picture
    masked    what the pixels of the hint become that are inpainted; None: they stay
    """

    asked: Asked
    network: ControlNetwork
    picture: Image
    spares: bool
    tokens: Tensor | None = None
    pooled: bool = False
    masked: float | None = None

    @property
    def kinds(self) -> tuple[int, ...]:
        """The number of the hint's kind, for a union that is told it."""
        if not isinstance(self.network, UnionControlNet) or self.asked.kind is None:
            return ()
        return (kind_number(self.asked.kind),)

    def hint(self, model: LatentDiffusion, job: Job, part: Pass) -> Tensor:
        """At the size of a pass; where a part of a picture is drawn alone, that part of it.
        (1, 3, H, W) in [0, 1]"""
        from PIL.Image import Resampling

        picture, size = self.picture, (part.width, part.height)
        if job.init is not None and (overlay := job.init.overlay) is not None:
            if picture.size != overlay.picture.size:
                picture = picture.resize(overlay.picture.size, Resampling.LANCZOS)
            picture = picture.crop(overlay.box)
        if picture.size != size:
            picture = picture.resize(size, Resampling.LANCZOS)
        if self.asked.hint == "depth":
            made = depth_of(picture, model)
        else:
            made = HINTS[self.asked.hint]((to_tensor(picture) + 1) / 2)
        return made if self.masked is None else with_hole(made, job, self.masked)


@dataclass(frozen=True, eq=False)
class Controls(Addition):
    """All of a request, which tell the network together."""

    called = "controls"
    beside = True
    every: tuple[Control, ...]

    @property
    def networks(self) -> Sequence[nn.Module]:
        return [control.network for control in self.every]

    @property
    def numbers(self) -> int:
        return sum(numbers_of(control.network) for control in self.every)

    def completing(self, model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
        return hints(self.every, model, job, part)

    def around(
        self, network: Network, model: LatentDiffusion, job: Job, part: Pass, clock: Clock
    ) -> Network:
        return Controlled(self.every, model, job, part, clock, network)


def depth_of(picture: Image, model: LatentDiffusion) -> Tensor:
    """Estimated, from 0, the farthest, to 1, the nearest."""
    from .makers.depth import scaled
    from .makers.depth_estimate import ESTIMATOR, estimate

    near = estimate(to_tensor(picture), ESTIMATOR, model.device)
    near = F.interpolate(near, (picture.height, picture.width), mode="bicubic")
    return ((scaled(near) + 1) / 2).expand(1, 3, -1, -1)


def added(model: LatentDiffusion, job: Job) -> Controls:
    """The controls that a request names: those that the model has at hand, or that are loaded now,
    and kept. ValueError: a file is not there, or no control of this model."""
    opened = [(one, picture_of(model, job, one)) for one in asked_controls(job.request)]
    controls = []
    for asked, picture in opened:
        if asked.file not in model.opened:
            with only_for("--control", asked.file):
                read = read_control(asked.file, model.family, model.unet, model.dtype, model.device)
            model.opened[asked.file] = read
        network: ControlNetwork = model.opened[asked.file].to(model.device, model.dtype)
        tokens = None
        if isinstance(network, IPAdapter):
            from .seeing import tokens_of

            tokens = tokens_of(model, network, asked, picture)
        else:
            tell_stretched(job, asked, picture)
        if isinstance(network, UnionControlNet):
            check_kind(asked, len(network.kind.weight))
        hole, pools = masked_value(asked, network, job), is_pooled(asked, network)
        spares = job.request.guess_mode or pools
        controls.append(Control(asked, network, picture, spares, tokens, pools, hole))
    check_used(job.request, controls)
    return Controls(tuple(controls))


def check_used(request: Request, controls: list[Control]) -> None:
    """ValueError for what none of the controls has a use for."""
    kinds = {type(control.network) for control in controls}
    fit = any(has_kind(control.asked, control.network) for control in controls)
    if request.control_kind is not None and not fit:
        what = f"control_kind is for union ControlNets, or one of {', '.join(FOR_ALL)}"
        raise ValueError(f"{what}: leave it out")
    if request.vision_tower is not None and IPAdapter not in kinds:
        raise ValueError("vision_tower is for IP-Adapters: leave it out")
    if request.hint is not None and kinds == {IPAdapter}:
        raise ValueError("an IP-Adapter sees the picture itself, and takes no hint: leave it out")


def check_kind(asked: Asked, known: int) -> None:
    """ValueError, if a union that knows so many kinds of hints does not know this one."""
    if asked.kind is not None and kind_number(asked.kind) >= known:
        names = ", ".join(name for names in KINDS[:known] for name in names)
        raise ValueError(f"{asked.file} knows no hints of kind {asked.kind}: only {names}")


def picture_of(model: LatentDiffusion, job: Job, asked: Asked) -> Image:
    """The picture that a hint is made from. ValueError: there is none."""
    if asked.picture is not None and asked.picture.startswith(GIVEN):
        if (found := GIVEN_NOW.get(asked.picture)) is None:
            raise ValueError(f"the control_image {asked.picture!r} is gone: give it again")
        return as_picture(found)
    if asked.picture is not None:
        return open_image(asked.picture)
    if job.init is None:
        raise ValueError(f"control {asked.file} needs a picture: give control_image")
    return to_pil(job.init.image)[0] if job.init.overlay is None else job.init.overlay.picture


def tell_stretched(job: Job, asked: Asked, picture: Image) -> None:
    """A warning, if a picture that a hint is made from has not the shape of what is drawn."""
    width, height = job.size
    longer = picture.width * height / (picture.height * width)
    if asked.picture is not None and abs(longer - 1) > 0.1:
        shapes = f"{picture.width} x {picture.height} is stretched to {width} x {height}"
        warn(f"the control_image of {shapes}")
