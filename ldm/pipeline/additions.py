"""What a request adds to a model while it draws, and where that takes part. Each kind is a file of
its own; a row of KINDS is all that the way from a request to a picture knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from ..request import Request
    from ..samplers import Network, Noise
    from .denoise import Clock
    from .job import Job
    from .makers import Complete
    from .model import LatentDiffusion
    from .passes import Pass

# The modules of the kinds, and the fields of a request that ask for each. `added(model, job)` of a
# module gives the Addition; None: there is nothing to add. From the inside out: what stands first
# is next to the U-Net, and controls tell it more than a Network can be told.
KINDS: dict[str, tuple[str, ...]] = {
    ".caching": ("cache",),
    ".controls": ("control",),
    ".loras": ("lora", "lora_dir"),
    ".hypernetworks": ("hypernetwork",),
    ".embeddings": ("embedding_dir", "lora", "lora_dir"),  # LoRAs may bring some
}

# `check(request)` of a module says what is wrong with these fields before there is a model.
CHECKS: dict[str, tuple[str, ...]] = {
    ".asked_controls": (
        "control", "control_image", "hint", "control_kind", "vision_tower", "guess_mode",
    ),
    ".combined": ("guidance_interval",),
}  # fmt: skip


class Addition:
    """What is around a drawing. A kind overrides what it needs; the rest does nothing.

    called   the kind, in the plural
    setting  what the web UI calls the hashes of its files; "": it has no such setting
    """

    called: str
    setting = ""

    @property
    def networks(self) -> Sequence[nn.Module]:
        """Those that are called beside the U-Net."""
        return ()

    @property
    def beside(self) -> bool:
        """Whether the network is told channels beside the latent."""
        return False

    @property
    def numbers(self) -> int:
        """How many are in memory for each pixel of a latent, while the U-Net is called."""
        return 0

    def mixed(self, job: Job) -> bool:
        """Whether the pictures of a job cannot be drawn in one batch."""
        return False

    def again(self, model: LatentDiffusion, job: Job) -> Addition | None:
        """The same for another model of the same sizes, which refines."""
        return self

    def lent(self, job: Job) -> AbstractContextManager[None]:
        """Around the whole of a run. Other runs of the same model may go on between its steps."""
        return nullcontext()

    def reading(self, model: LatentDiffusion) -> LatentDiffusion:
        """The model as texts are read by it."""
        return model

    def completing(self, model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
        """A maker of what the network is told in a pass, see `makers`."""
        return lambda branches, pictures: branches

    def around(
        self, network: Network, model: LatentDiffusion, job: Job, part: Pass, clock: Clock
    ) -> Network:
        """The network of a pass."""
        return network

    def files(self, model: LatentDiffusion, request: Request) -> Mapping[str, str]:
        """The digits of its files' hashes by their names, for the picture of a request."""
        return {}


def with_additions(model: LatentDiffusion, job: Job) -> Job:
    """The job with all that its request adds, opened and checked. ValueError: it does not fit."""
    for module, fields in KINDS.items():
        if any(getattr(job.request, name) is not None for name in fields):
            found: Addition | None = import_module(module, __package__).added(model, job)
            own = () if found is None else (found,)
            job = replace(job, additions=(*job.additions, *own))
    return job
