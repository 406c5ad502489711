"""What happens while pictures are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..request import Request

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..samplers import Step


@dataclass(frozen=True)
class Stepped:
    """A step of a batch is done."""

    step: Step


@dataclass(frozen=True)
class Preview:
    """The index-th picture that is kept of the batch as it is after a number of steps."""

    index: int
    steps: int
    image: Image


@dataclass(frozen=True)
class Finished:
    """The index-th picture that is kept of the batch; `request` draws it again, and it alone."""

    index: int
    image: Image
    request: Request


Event = Stepped | Preview | Finished
