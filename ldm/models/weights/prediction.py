"""What the U-Net of a single file predicts, eps or v: no shape tells, and most files do not say."""

import re
from dataclasses import replace
from pathlib import Path

import torch

from ...conditioning import Conditioning
from ...runtime.warn import warn
from ...samplers.denoiser import Prediction
from ...unet import UNet
from ..families import SD2, SD2_V, SDXL, SDXL_V, Family
from .opening import OpenedCheckpoint

# SDXL's descendants say it by empty tensors of these names.
V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"
PAIRS = ((SD2, SD2_V), (SDXL, SDXL_V))
WRITTEN: dict[str, Prediction] = {
    "v": "v", "v_prediction": "v", "eps": "eps", "epsilon": "eps", "x0": "x0", "sample": "x0",
}  # fmt: skip
NAMES = {
    "v": r"768[-_ ]?v|2-1_768|v[-_ ]?pred",
    "eps": r"512[-_ ]?(base|eps|ema)|base[-_ ]?512|sd[-_ ]?turbo",
}


def with_prediction(family: Family, prediction: str) -> Family:
    """The family with a U-Net that predicts this. SD 2 and SDXL have two, of different usage."""
    if prediction not in WRITTEN:
        raise ValueError(f"a U-Net predicts eps, v or x0, not {prediction!r:.80}")
    wanted = WRITTEN[prediction]
    for pair in PAIRS:
        for one in pair if family.name in (member.name for member in pair) else ():
            if one.prediction == wanted != family.prediction:
                return replace(one, text=family.text)
    return replace(family, prediction=wanted)


def told_by_file(opened: OpenedCheckpoint, family: Family) -> tuple[Family, str] | None:
    """The family with the prediction that the file says, or that a known name does, and why that is
    believed; None: nothing says it, and the family has members of both kinds."""
    if V_PREDICTION in opened.weights:
        zero_snr = ZERO_SNR in opened.weights
        family = replace(with_prediction(family, "v"), zero_snr=zero_snr)
        return family, f"v, as the tensor {V_PREDICTION} in it says"
    if (written := opened.metadata.get("modelspec.prediction_type")) in WRITTEN:
        return with_prediction(family, written), f"{WRITTEN[written]}, as its header says"
    beside = opened.path.with_suffix(".yaml")
    if (written := parameterization(beside)) in WRITTEN:
        return with_prediction(family, written), f"{WRITTEN[written]}, as {beside.name} says"
    if family.name not in (SD2.name, SD2_V.name):
        return family, f"{family.prediction}, as all models of the family {family.name}"
    for prediction, pattern in NAMES.items():
        if re.search(pattern, opened.path.stem, re.IGNORECASE):
            reason = f"{prediction}, as files of this name (--prediction says another)"
            return with_prediction(family, prediction), reason
    return None


def parameterization(config: Path) -> str | None:
    """What CompVis's config of a model, in a YAML file beside it, says; None: there is none."""
    if not config.is_file():
        return None
    try:
        with config.open(encoding="utf-8") as file:
            text = file.read(100_000)
    except (OSError, UnicodeDecodeError):
        return None
    # [ \t] and not \s, which would cross lines and take quadratic time on empty ones
    if found := re.search(r"^[ \t]*parameterization:[ \t]*[\"']?(\w{1,20})", text, re.MULTILINE):
        return found[1]
    return "eps" if re.search(r"^[ \t]*linear_start:", text, re.MULTILINE) else None


@torch.no_grad()
def probed(unet: UNet, family: Family) -> tuple[Family, str]:
    """The prediction of a U-Net told by one call, as A1111 does: at the last time step a constant
    latent is nearly all noise, so that eps is that latent, and v is far below it."""
    config, like = unet.config, unet.out.weight
    x = torch.full((1, config.in_channels, 8, 8), 0.5).to(like)
    context = torch.full((1, 2, config.context_width), 0.5).to(like)
    out = unet(x, torch.tensor([999.0], device=like.device), Conditioning(context))
    mean = float((out - x).mean())
    prediction = "v" if mean < -1 else "eps"
    how = f"as a call of it suggests: on a constant latent at t = 999 it is off by {mean:.2f}"
    told = "the checkpoint does not say it; prediction= (--prediction) says another"
    warn(f"the U-Net predicts {prediction}, {how}; {told}")
    return with_prediction(family, prediction), f"{prediction}, {how}"
