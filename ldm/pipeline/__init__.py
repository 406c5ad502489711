"""From a request to pictures."""

from .job import Job, resolve
from .loading import built_in, load
from .model import LatentDiffusion

__all__ = ["Job", "LatentDiffusion", "built_in", "load", "resolve"]
