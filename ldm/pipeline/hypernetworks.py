"""Hypernetworks of a request, around the network that draws it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from ..conditioning import Conditioning
from ..models.hypernetworks import read_hypernetwork
from ..models.meant import only_for
from ..request import Request
from ..request.additions import file_and_strengths, listed, name_of
from ..runtime.hashes import computed
from ..samplers import Network
from ..unet.hypernetwork import Hypernetwork, through
from .additions import Addition
from .compiling import is_compiled, never_packed

if TYPE_CHECKING:
    from .denoise import Clock
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


class Use(NamedTuple):
    path: Path
    network: Hypernetwork
    strength: float


@dataclass(frozen=True, eq=False)
class Hypernetworks(Addition):
    """All of a request, the first innermost."""

    called = "hypernetworks"
    setting = "Hypernet hash"
    uses: tuple[Use, ...]

    @property
    def networks(self) -> Sequence[nn.Module]:
        return [use.network for use in self.uses]

    def around(
        self, network: Network, model: LatentDiffusion, job: Job, part: Pass, clock: Clock
    ) -> Network:
        def changed(x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
            with ExitStack() as stack:
                for use in self.uses:
                    stack.enter_context(through(model.unet, use.network, use.strength))
                return network(x, t, conditioning)

        return changed

    def files(self, model: LatentDiffusion, request: Request) -> dict[str, str]:
        return {name_of(str(use.path)): computed(use.path)[:10] for use in self.uses}


def added(model: LatentDiffusion, job: Job) -> Hypernetworks | None:
    """Those that a request names, opened, and kept by the model; None: all have strength 0.
    ValueError: one is not there, or is for another family."""
    uses = []
    for entry in listed(job.request.hypernetwork):
        file, strength, text = file_and_strengths(entry, "hypernetwork")
        if strength != text:
            raise ValueError(f"hypernetwork {entry!r} has one strength: give FILE:0.8")
        path = Path(file).expanduser()
        if (key := f"hypernetwork {path}") not in model.opened:
            with only_for("--hypernetwork", path):
                model.opened[key] = read_hypernetwork(path, model.family, model.unet)
        if strength:
            network = model.opened[key].to(model.device, model.dtype)
            if is_compiled(model.unet):
                never_packed(network)
            uses.append(Use(path, network, strength))
    return Hypernetworks(tuple(uses)) if uses else None
