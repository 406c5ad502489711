"""What a request adds to a model: each kind in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..prompts.conditioner import Tower
    from ..request import Request
    from .job import Job
    from .loras import Loras
    from .model import LatentDiffusion


@dataclass(frozen=True, eq=False)
class Added:
    """loras    that change the model's weights while it draws
    towers   text encoders that know embeddings
    """

    loras: Loras | None = None
    towers: tuple[Tower, ...] | None = None

    def mixed(self, job: Job) -> bool:
        """Whether the pictures of a job are drawn with different weights."""
        return self.loras is not None and self.loras.mixed(job)

    def about(self, model: LatentDiffusion, request: Request) -> str | Mapping[str, str]:
        """What the metadata of the picture of a request say of the model and of these."""
        from .added_hashes import about_added

        return about_added(model, self, request)


def added(model: LatentDiffusion, job: Job) -> Job:
    """The job with all that its request adds, opened and checked. ValueError: it does not fit."""
    request, loras, towers = job.request, None, None
    if request.lora is not None or request.lora_dir is not None:
        from .loras import asked_for

        loras = asked_for(model, job)
    if request.embedding_dir is not None or (loras is not None and loras.bundled()):
        from .embeddings import towers_for

        towers = towers_for(model, job, {} if loras is None else loras.bundled())
    return replace(job, added=Added(loras, towers))


def reading(model: LatentDiffusion, job: Job) -> LatentDiffusion:
    """The same model, which reads with the text encoders of the job."""
    if job.added is None or job.added.towers is None:
        return model
    other = copy(model)
    other.towers = list(job.added.towers)
    return other
