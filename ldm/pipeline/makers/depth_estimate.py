"""An estimate of depth, by the models of the package transformers: the optional extra `depth`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from ...images.saving import to_pil

ESTIMATOR = "Intel/dpt-hybrid-midas"  # the network that the depth model was trained with


def check_estimator(name: str) -> None:
    """ValueError, before any work, if there is nothing to estimate depth with."""
    if find_spec("transformers") is None:
        raise ValueError(
            f"to estimate depth with {name} takes the package transformers: "
            "pip install 'ldm[depth]'; or give a depth picture: --depth FILE"
        )


@torch.no_grad()
def estimate(image: Tensor, name: str, device: torch.device) -> Tensor:
    """How near each pixel of a picture is, in no particular unit: greater is nearer.

    image (1, 3, H, W) in [-1, 1] -> (1, 1, h, w), of the estimator's own size. name: a folder, or
    a model of the Hugging Face hub, for `AutoModelForDepthEstimation`.
    """
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    try:
        processor: Any = cast(Any, AutoImageProcessor).from_pretrained(name)
        network: Any = AutoModelForDepthEstimation.from_pretrained(name).to(device).eval()
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the depth estimator {name} cannot be loaded ({line}): name another with "
            "--depth_model, or give a depth picture: --depth FILE"
        ) from error
    inputs = processor(images=to_pil(image)[0], return_tensors="pt").to(device)
    near: Tensor = network(**inputs).predicted_depth
    return near[:, None].float().cpu()
