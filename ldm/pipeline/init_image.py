"""The picture that sampling starts from: what of it is inpainted, and how the result goes back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..images.colour import with_colours_of, with_luminance
from ..images.files import fit, open_image, rgb, to_tensor
from ..images.masks import (
    Box,
    binarize_mask,
    blur_mask,
    crop_and_resize,
    edge_beside,
    expand_box,
    extend,
    to_mask,
)
from ..images.saving import to_pil
from ..request import Request
from .caveats import tell_size

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..models.families import Family
    from .given import Given

    Picture = str | Path | Image | Tensor  # a file, PIL's, or (1, 3, H, W) in [-1, 1]


@dataclass(frozen=True)
class Overlay:
    """Where an inpainted picture goes: into the box of `picture`, through `mask`, of the whole
    picture's size."""

    picture: Image
    mask: Image
    box: Box

    def __call__(self, inpainted: Image) -> Image:
        """The picture, new where the mask is white; where it is black not a bit of it changes."""
        from PIL import Image
        from PIL.Image import Resampling

        size = self.box[2] - self.box[0], self.box[3] - self.box[1]
        if inpainted.size != size:
            inpainted = inpainted.resize(size, Resampling.LANCZOS)
        patch = Image.composite(inpainted, self.picture.crop(self.box), self.mask.crop(self.box))
        result = self.picture.copy()
        result.paste(patch, self.box[:2])
        return result


@dataclass(frozen=True)
class InitImage:
    """image             (1, 3, H, W) in [-1, 1]: what is encoded
    mask              (1, 1, H, W): 1 where to inpaint, 0 where not; None: everywhere
    overlay           how the result goes back into the picture that the image was cut from
    keep_luminance    whether the result takes its luminance from the image, and only the colour is
                      new
    color_correction  whether the result takes the mean and spread of each channel from the image
    scale             how many times as large as the image the result is
    source            the picture as it came, where it is that which the model is told
    """

    image: Tensor
    mask: Tensor | None = None
    overlay: Overlay | None = None
    keep_luminance: bool = False
    color_correction: bool = False
    scale: int = 1
    source: Image | Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        height, width = self.image.shape[2:]
        return width * self.scale, height * self.scale

    def check_size(self, request: Request) -> None:
        """ValueError unless the picture is of the size that the request asks for."""
        width, height = self.size
        if (width, height) != (size := (request.width, request.height)):
            what = f"an image of {width} x {height} for a picture of {size[0]} x {size[1]}"
            raise ValueError(what)

    def finish(self, images: Tensor, truncate: bool = False) -> list[Image]:
        """Decoded pictures (B, 3, H, W) -> B finished ones. truncate: as in `to_pil`."""
        image = self.image.to(images)
        if self.color_correction:
            known = None if self.mask is None else 1 - self.mask.to(images)
            images = with_colours_of(images, image, known)
        if self.keep_luminance:
            images = with_luminance(images, image)
        pictures = to_pil(images, truncate)
        return pictures if self.overlay is None else [self.overlay(one) for one in pictures]


def opened(
    request: Request, family: Family, multiple: int, image: Picture | None, mask: Picture | None
) -> tuple[Request, InitImage]:
    """What the request starts from: the pictures given, or those in the files that are named; and
    the request, told how much larger it is to become where that was left to the model (0)."""
    if image is None:
        raise ValueError("give the picture that is to be inpainted, coloured or enlarged")
    if "low_resolution" in family.conditioning:
        if request.upscaler is not None:
            raise ValueError(f"{family.name} enlarges pictures itself: leave out upscaler")
        from .makers.low_resolution import small_picture  # which makes an InitImage

        return request, small_picture(request, family.vae.factor, image)
    if request.upscale == 0:
        request = replace(request, upscale=2.0)
    sides = request.left, request.right, request.top, request.bottom
    usual = family.outpaint_blur if request.compat is None else 0.0  # no program has such an edge
    request = request.filled(mask_blur=edge_beside(sides, usual))
    picture = open_image(image) if isinstance(image, str | Path) else image
    hole = open_image(mask, to_mask) if isinstance(mask, str | Path) else mask
    init = prepare(request, family.size, multiple, picture, hole)
    if family.vision is not None:
        from .makers.image_embedding import with_source

        init = with_source(init, picture)
    return request, init


def started(
    request: Request, family: Family, init: InitImage | None, given: Given | None
) -> tuple[Request, int, int]:
    """The request with the strength and the tile that go with a picture, or with given latents;
    and their width and height in pixels."""
    latents = None if given is None else given.latents
    if init is not None and latents is not None:
        raise ValueError("give a picture to start from, or latents, not both")
    if request.hires is not None:
        raise ValueError(
            "the second pass of hires is for pictures from noise: leave out hires, or the image"
        )
    masked = init is not None and init.mask is not None
    usual = family.strength if request.upscale is None else family.upscale_strength
    request = request.filled(strength=1.0 if masked else usual)
    width = height = family.size
    if init is not None:
        width, height = init.size
        whole = init.scale > 1 and request.compat is not None  # no program has tiles for upscalers
        if request.upscale is not None and request.seamless is None and not whole:
            request = request.filled(tile=family.size)
    elif isinstance(latents, Tensor) and latents.ndim == 4:
        height, width = (family.vae.factor * side for side in latents.shape[2:])
    return request, width, height


def prepare(
    request: Request,
    family_size: int,
    multiple: int,
    picture: Image | Tensor,
    mask: Image | Tensor | None = None,
) -> InitImage:
    """What sampling starts from: a picture, or the part of it that is inpainted, at a size the
    model can do.

    family_size  pixels of a side that the model was trained at: `inpaint_only_masked` draws that
    multiple     of which width and height are multiples, where the request leaves them open
    picture      PIL's, or (1, 3, H, W) in [-1, 1], which keeps its size if nothing is cut from it
    mask         white is inpainted, see `to_mask`
    """
    checked(picture)
    keep, correct = request.colourise, request.color_correction
    sides = request.left, request.right, request.top, request.bottom
    if (mask is not None) + any(sides) + (request.upscale is not None) > 1:
        raise ValueError("a mask, pixels to add at the sides, and to upscale: give one of them")
    if mask is None and not any(sides):
        if isinstance(picture, Tensor) and request.upscale is None:
            return InitImage(picture, keep_luminance=keep, color_correction=correct)
        own = as_pil(picture)
        size = wanted_size(request, multiple, own)
        if request.upscaler is not None:
            return InitImage(enlarged_first(request, own, *size), None, None, keep, correct)
        whole = fit(own, multiple, *size)
        tell_size(request, multiple, own.size, whole.size)
        return InitImage(to_tensor(whole), keep_luminance=keep, color_correction=correct)
    whole, new = (
        extend(as_pil(picture), *sides) if mask is None else (as_pil(picture), to_mask(mask))
    )
    new, place = binarize_mask(new, whole.size)
    box, size = (0, 0, *whole.size), drawn_size(request, family_size, multiple, whole)
    if request.inpaint_only_masked:
        width, height = (
            family_size if side is None else side for side in (request.width, request.height)
        )
        size = width, height
        box = expand_box(place, request.masked_padding, size[0] / size[1], whole.size)
    image, inside = crop_and_resize(whole, new, box, size, fill=request.masked_content == "fill")
    overlay = Overlay(whole, blur_mask(new, request.mask_blur or 0, request.feather), box)
    return InitImage(image, inside, overlay, keep, correct)


def enlarged_first(
    request: Request, picture: Image, width: int | None, height: int | None
) -> Tensor:
    """The picture as the upscaler that the request names makes it, brought to a size."""
    from ..runtime.device import choose_device
    from .enlarging import enlarged, named_upscaler

    if request.upscale is None or width is None or height is None:
        raise ValueError("an upscaler enlarges a picture: say how many times with --upscale")
    network = named_upscaler(str(request.upscaler), choose_device())
    return enlarged(to_tensor(picture), height, width, network)


def checked(picture: Image | Tensor) -> None:
    """An error for a tensor that is not one picture in [-1, 1]."""
    if not isinstance(picture, Tensor):
        return
    if picture.ndim != 4 or picture.shape[:2] != (1, 3) or not picture.is_floating_point():
        what = f"{tuple(picture.shape)} of {picture.dtype}"
        raise ValueError(
            f"an image must be a tensor (1, 3, H, W) of numbers in [-1, 1], not {what}"
        )
    if not picture.isfinite().all():
        raise ValueError("an image must be of numbers in [-1, 1]: this one has NaN or infinity")


def as_pil(picture: Image | Tensor) -> Image:
    return to_pil(picture)[0] if isinstance(picture, Tensor) else rgb(picture)


def drawn_size(
    request: Request, family_size: int, multiple: int, picture: Image
) -> tuple[int, int]:
    """Width and height at which a picture is inpainted: as the request says them; else its own,
    rounded down to multiples. One of fewer pixels than those of the training has is drawn with as
    many, for else hardly anything is drawn; what is new is scaled back. (Not so with compat: no
    program does that.)"""
    grow = family_size / math.sqrt(picture.width * picture.height)
    said = (request.width, request.height) != (None, None)
    if said or grow <= 1 or request.compat is not None:
        return fit(picture, multiple, request.width, request.height).size
    width, height = (math.ceil(side * grow / multiple) * multiple for side in picture.size)
    return width, height


def wanted_size(request: Request, multiple: int, picture: Image) -> tuple[int | None, int | None]:
    """Width and height as the request says them, or as many times the picture's as it says."""
    if request.upscale is None:
        return request.width, request.height
    sides = zip((request.width, request.height), picture.size)
    width, height = (
        max(1, round(own * request.upscale / multiple)) * multiple if said is None else said
        for said, own in sides
    )
    return width, height
