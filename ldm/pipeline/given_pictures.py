"""Pictures of controls that are no files: a request calls them by names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from torch import Tensor

from ..images.files import open_image, rgb
from ..images.saving import to_pil

if TYPE_CHECKING:
    from PIL.Image import Image

    from .init_image import Picture

GIVEN = "picture "  # what a picture that is no file is called begins with
GIVEN_NOW: WeakValueDictionary[str, Any] = WeakValueDictionary()  # such pictures, while they live


def as_picture(given: Picture) -> Image:
    """PIL's, of a file or a tensor (1, 3, H, W) in [-1, 1]."""
    from .init_image import checked

    if isinstance(given, Tensor):
        checked(given)
        return to_pil(given)[0]
    return open_image(given) if isinstance(given, str | Path) else rgb(given)


def named_pictures(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a request in which pictures that are no files are called by a name, under which
    they are known for as long as the caller keeps them."""
    given = options["control_image"]
    several = isinstance(given, list | tuple)
    named = [name_of(one) for one in (given if several else [given])]
    return {**options, "control_image": named if several else named[0]}


def name_of(given: Picture) -> str:
    if isinstance(given, str | Path):
        return str(given)
    picture = as_picture(given)
    digest = hashlib.sha256(picture.tobytes() + bytes(str(picture.size), "ascii"))
    name = GIVEN + digest.hexdigest()[:16]
    GIVEN_NOW[name] = given
    return name
