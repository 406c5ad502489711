"""Latent diffusion from scratch, in pure PyTorch.

import ldm
model = ldm.load()
images = model.txt2img("a red star above a blue ring", seed=1, count=4)
ldm.save_image("star.jpg", images[0])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .runtime import __version__

if TYPE_CHECKING:
    from .images.save import save_image
    from .models.families import FAMILIES
    from .models.weights import inspect
    from .pipeline import LatentDiffusion, load
    from .pipeline.scoring import load_clip
    from .request import Request
    from .samplers import SAMPLERS, SCHEDULES

__all__ = [
    "FAMILIES", "SAMPLERS", "SCHEDULES", "LatentDiffusion", "Request", "__version__",
    "inspect", "load", "load_clip", "save_image",
]  # fmt: skip

PLACES = {  # imported when they are first used: torch takes seconds, and the command sets it up
    "FAMILIES": ".models.families",
    "LatentDiffusion": ".pipeline",
    "Request": ".request",
    "SAMPLERS": ".samplers",
    "SCHEDULES": ".samplers",
    "inspect": ".models.weights",
    "load": ".pipeline",
    "load_clip": ".pipeline.scoring",
    "save_image": ".images.save",
}


ROOMS = (
    "clip", "compat", "conditioning", "images", "layers", "metadata", "models", "pipeline",
    "prompts", "request", "runtime", "samplers", "training", "unet", "vae",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ROOMS:
        return import_module(f".{name}", __name__)
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(PLACES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
