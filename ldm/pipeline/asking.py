"""What is asked for in keywords, as a request."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..request import Request
from ..runtime.text import short
from .fast import faster

if TYPE_CHECKING:
    from .model import LatentDiffusion

RANDOM = -1  # the seed that stands for a random one, as in the web UIs


def asked(model: LatentDiffusion, fast: bool = False, **options: Any) -> Request:
    """The request of these options, see `Request.of`. Its seed is a number, so that it says which
    picture is wanted; a refiner that is a model, and no file, is kept by its name; so are hints.
    fast: see `faster`."""
    if options.get("seed") == RANDOM:
        options["seed"] = random_seed()
    refiner = options.get("refiner")
    if refiner is not None and not isinstance(refiner, str | Path):
        model.refiners[refiner.name] = refiner
        options["refiner"] = refiner.name
    if options.get("control_image") is not None:
        from .given_pictures import named_pictures

        options = named_pictures(options)
    request = Request.of(**options)
    if not isinstance(fast, bool):
        raise ValueError(f"fast must be True or False, not {short(fast)}")
    return faster(request, model.family) if fast else request


def random_seed() -> int:
    """One below 2^32, as the web UIs draw it."""
    return secrets.randbelow(2**32)
