"""An estimate of depth: by what the file of the model has for that, or else by the models of the
package transformers, the optional extra `depth`."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...images.saving import to_pil

if TYPE_CHECKING:
    from ..job import Job
    from ..model import LatentDiffusion

ESTIMATOR = "Intel/dpt-hybrid-midas"  # the network that the depth model was trained with


def with_estimator(model: LatentDiffusion, job: Job) -> Job:
    """The job of a request that gives no depth: `depth_model` stays open where the model's own file
    has an estimator."""
    if job.request.depth_model is None and model.depth is not None:
        return job
    request = job.request.filled(depth_model=ESTIMATOR)
    check_estimator(str(request.depth_model))
    return replace(job, request=request)


def check_estimator(name: str) -> None:
    """ValueError, before any work, if there is nothing to estimate depth with."""
    if find_spec("transformers") is None:
        raise ValueError(
            f"to estimate depth with {name} takes the package transformers: "
            "pip install transformers; or give a depth picture: --depth FILE"
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
