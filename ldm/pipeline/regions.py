"""Denoisers of pictures of which something is known, that are drawn in tiles, or that join
themselves at their edges."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conditioning import Conditioning
from ..images.colour import with_luminance
from ..runtime.seamless import seamless
from ..runtime.tiles import in_tiles, overlap_of
from ..samplers import Denoiser, Network
from ..samplers.wrappers import masked_denoiser, project_denoised, tiled

if TYPE_CHECKING:
    from .denoise import Clock
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


def within_regions(
    denoise: Denoiser, model: LatentDiffusion, job: Job, clean: Tensor | None
) -> Denoiser:
    """D in the tiles of the request; and made to agree with the luminance, or outside the mask, of
    the picture that is started from. clean (B, Z, h, w): its latents."""
    request, init = job.request, job.init
    if request.tile is not None and not beside(model, job):
        tile = request.tile // model.vae.factor
        denoise = tiled(denoise, tile, overlap_of(tile))
    if init is None:
        return denoise
    if init.keep_luminance:
        encode = partial(model.encode, tile=request.tile, axes=request.seamless)
        decode = partial(model.decode, tile=request.tile, axes=request.seamless)
        image = init.image.to(model.device)
        denoise = project_denoised(
            denoise, lambda denoised: encode(with_luminance(decode(denoised), image))
        )
    told = "inpainting" in model.family.conditioning and not job.profile.blends_inpainting
    if init.mask is None or clean is None or told:
        return denoise
    return masked_denoiser(denoise, clean, latent_mask(init.mask, clean))


def latent_mask(mask: Tensor, clean: Tensor) -> Tensor:
    """The mask of a picture (1, 1, H, W) for its latents (B, Z, h, w): 1 where any pixel is.
    -> (1, 1, h, w)"""
    return F.adaptive_max_pool2d(mask.to(clean), clean.shape[-2:])


def network_of(model: LatentDiffusion, job: Job, part: Pass, clock: Clock) -> Network:
    """The U-Net, its depth held between calls if that is asked for; under its controls; around its
    edges, where the pictures are to join themselves; in tiles, where it is told channels beside the
    latent."""
    request, network = job.request, cast(Network, model.unet)
    if request.cache not in (None, 1):
        from .caching import Cached

        network = Cached(model.unet, request.cache, clock)
    if job.controls:
        from .controlled import Controlled

        network = Controlled(model, job, part, clock, network)
    if request.seamless is not None:
        parts = [model.unet, *(control.network for control in job.controls)]
        network = around(network, nn.ModuleList(parts), request.seamless)
    if request.tile is not None and beside(model, job):
        network = by_tiles(network, request.tile // model.vae.factor)
    return network


def beside(model: LatentDiffusion, job: Job) -> bool:
    """Whether the network is told channels beside the latent."""
    return bool(model.unet.config.concat_channels or job.controls)


def around(network: Network, modules: nn.Module, axes: str) -> Network:
    """The network with maps that join themselves along the axes. modules: all that it calls."""

    def joined(x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        with seamless(modules, axes):
            return network(x, t, conditioning)

    return joined


def by_tiles(network: Network, tile: int) -> Network:
    """The network, called on overlapping tiles of the latent together with those of the channels
    beside it. tile: in pixels of the latent."""

    def tiled_network(x: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.concat is not None

        def run(part: Tensor) -> Tensor:
            own = replace(conditioning, concat=part[:, x.shape[1] :])
            return network(part[:, : x.shape[1]], t, own)

        return in_tiles(run, torch.cat([x, conditioning.concat], 1), tile, overlap_of(tile))

    return tiled_network
