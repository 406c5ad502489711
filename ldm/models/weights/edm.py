"""SDXL's networks trained with the noise of EDM, told by a tensor in a single file; and EDM's
scheduler in a diffusers folder. See `samplers.edm`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..families import COSXL, COSXL_EDIT, PLAYGROUND, Family
from .errors import CheckpointError
from .mapped import Weight

PLAYGROUND_MARK = "edm_mean"  # beside edm_std
COSXL_MARK, COSXL_LOWEST = "edm_vpred.sigma_max", "edm_vpred.sigma_min"
STEMS = "model.diffusion_model.input_blocks.0.0.weight", "unet.stem.weight"
SCHEDULERS = {"eps": "EDMDPMSolverMultistepScheduler", "v": "EDMEulerScheduler"}
VALUES = "sigma_min", "sigma_max", "sigma_data"


def with_edm(weights: Mapping[str, Weight]) -> tuple[Family, str] | None:
    """The family that such a tensor tells, and why it is believed; None: there is none.

    CosXL's gives the highest noise level, and perhaps another the lowest, as ComfyUI reads them.
    """
    if PLAYGROUND_MARK in weights:
        return PLAYGROUND, f"eps, with the noise of EDM, as the tensor {PLAYGROUND_MARK} in it says"
    if COSXL_MARK not in weights:
        return None
    low, high = (
        number(weights[name], name) if name in weights else usual
        for name, usual in zip((COSXL_LOWEST, COSXL_MARK), COSXL.edm)
    )
    if not 0 < low < high < 1e6:
        raise CheckpointError(f"its noise levels {low} to {high} ({COSXL_MARK}) cannot be")
    why = f"v, with the noise of EDM up to {high:g}, as the tensor {COSXL_MARK} in it says"
    sees = {weights[name].shape[1:2] for name in STEMS if name in weights}
    base = COSXL_EDIT if sees == {(8,)} else COSXL
    return replace(base, edm=(low, high, COSXL.edm[2])), why


def number(weight: Weight, name: str) -> float:
    """The one number of a tensor, in the few digits that it was meant to have."""
    if weight.shape not in ((), (1,)):
        raise CheckpointError(f"{name} has shape {weight.shape}: it should be one number")
    return float(f"{float(weight.read()):.6g}")


def described_edm(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a family that EDM's schedulers tell; none of another one."""
    if not str(scheduler.get("_class_name")).startswith("EDM"):
        return {}
    return {"edm": [scheduler[name] for name in VALUES]}


def edm_scheduler(family: Family) -> dict[str, Any]:
    """The inverse of `described_edm`, as a scheduler_config.json."""
    return {
        "_class_name": SCHEDULERS[family.prediction],
        **dict(zip(VALUES, family.edm)),
        "sigma_schedule": "karras",
        "num_train_timesteps": family.train_steps,
        "prediction_type": {"eps": "epsilon", "v": "v_prediction"}[family.prediction],
        "rho": 7.0,
        "final_sigmas_type": "zero",
    }
