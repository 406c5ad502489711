"""What else tells what a LoRA is for: names of layers that only other networks have, its header;
and what its title says of its use."""

import re

from ..family import Family
from ..few_steps import FEW_STEPS, STEPS, usage
from .file import Lora

OTHERS = {  # patterns in keys
    r"double_blocks|single_blocks|single_transformer_blocks": "Flux",
    r"joint_blocks|(^|\.)transformer\.transformer_blocks": "Stable Diffusion 3",
    r"lora_(prior_)?unet_(down|up)_blocks_\d+_\d+_(channelwise|kv_mapper)": "Stable Cascade",
    r"lora_te3_|t5xxl": "a model with a T5 text encoder",
    r"(^|_|\.)motion_modules": "AnimateDiff",
}
TITLES = "ss_output_name", "modelspec.title", "ss_base_model_version", "modelspec.architecture"


def foreign(lora: Lora) -> str | None:
    """What networks it is for that are not known here; None: nothing tells it."""
    for pattern, what in OTHERS.items():
        if any(re.search(pattern, layer.key) for layer in lora.layers):
            return f"{what}, which is not supported"
    return None


def stated(lora: Lora) -> str | None:
    """What kohya's or Stability's metadata say that it was trained on."""
    said = lora.metadata.get("ss_base_model_version", "").lower()
    said = said or lora.metadata.get("modelspec.architecture", "").lower()
    if "xl" in said:
        return "sdxl-refiner" if "refiner" in said else "sdxl"
    for mark, name in (("v2", "sd2"), ("v1", "sd1")):
        if mark in said:
            return name
    return "sd2" if lora.metadata.get("ss_v2") == "True" else said or None


def hint(lora: Lora, base: Family) -> str | None:
    """How a LoRA that distils to a few steps is used, by its title or its name; None: it is
    another."""
    titles = [lora.metadata.get(name, "") for name in TITLES[:2]]
    for said in (*titles, lora.name, lora.path.stem):
        for row in FEW_STEPS:
            if re.search(row.pattern, said, re.IGNORECASE):
                found = STEPS.search(said)
                family = row.of(base, int(found[1]) or None if found else None)
                return f"a {row.name} LoRA, made for {usage(family, base).partition(' (')[0]}"
    return None
