"""Which naming and which family a checkpoint has, told by its keys and shapes; or what it is instead."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..families import FAMILIES, Family
from ..keymaps import Naming, table
from .folder import family_of
from .mapped import CheckpointError, Weight
from .opening import Opened
from .skeleton import layers_at_most, shapes


@dataclass(frozen=True)
class Kind:
    """family       None if no family of ours has such keys and shapes
    prediction   what the U-Net predicts, and the reason why that is believed
    """

    naming: Naming
    family: Family | None
    prediction: str


def recognise(opened: Opened, family: Family | None = None) -> Kind:
    """A given family is believed, then a header or a folder that states its own, then the shapes."""
    naming = naming_of(opened)
    if family is not None:
        return Kind(naming, family, f"{family.prediction}, as the given family says")
    if "family" in opened.metadata:
        family = buildable(stated_family(opened), naming, opened)
        return Kind(naming, family, f"{family.prediction}, as the header of the file says")
    if naming == "diffusers":
        family = buildable(family_of(opened.configs, opened.path), naming, opened)
        return Kind(naming, family, f"{family.prediction}, as scheduler_config.json says")
    for family in FAMILIES.values():
        if fits(opened.weights, family, naming):
            return Kind(naming, family, f"{family.prediction}, as all models of the family {family.name}")
    return Kind(naming, None, "unknown, as the family is")


def naming_of(opened: Opened) -> Naming:
    if opened.container == "folder":
        return "diffusers"
    return "ldm" if any(name.startswith("unet.stem.") for name in opened.weights) else "compvis"


def stated_family(opened: Opened) -> Family:
    """The family in the header of a file that this library wrote."""
    try:
        return Family.from_dict(json.loads(opened.metadata["family"]))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{opened.path} states a family that cannot be: {error}") from error


def buildable(family: Family, naming: Naming, opened: Opened) -> Family:
    """A family that a file describes may be nonsense: too large to be what is in it, or of sizes that do not fit."""
    if not layers_at_most(family, len(opened.weights)):
        raise CheckpointError(f"{opened.path} describes more layers than it has tensors: {len(opened.weights)}")
    try:
        shapes(family, naming)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise CheckpointError(f"{opened.path} describes networks that cannot be built: {error}") from error
    return family


def fits(weights: Mapping[str, Weight], family: Family, naming: Naming) -> bool:
    """Nine in ten parameters of the family are here in their shapes; if others are not, it is they that are wrong."""
    expected = shapes(family, naming)
    found = 0
    for ours, source in table(family, naming).items():
        found += any(name in weights and weights[name].shape == expected[ours] for name in source.names)
    return found >= 0.9 * len(expected)


KEYS = (  # what a file is whose keys contain the pattern; the first that fits
    (r"lora_(unet|te|down|up)|\.lora_[AB]\.|\.hada_w1|\.lokr_w1", "a LoRA, which is applied on top of a checkpoint"),
    (r"^(control_model|controlnet_\w+)\.", "a ControlNet, which is used beside a checkpoint"),
    (r"^(emb_params|string_to_param|clip_[lg])$", "a textual inversion embedding, which is used beside a checkpoint"),
    (r"double_blocks\.", "a Flux checkpoint"),
    (r"joint_blocks\.|joint_transformer_blocks\.", "an SD 3 checkpoint"),
    (r"^conditioner\.embedders\.", "an SDXL checkpoint"),
    (r"^low_scale_model\.", "SD 2's x4 upscaler"),
    (r"^depth_model\.", "SD 2's depth-to-image model"),
    (r"^optimizer|^exp_avg", "the state of an optimizer"),
)
ROLES = {9: "an inpainting model", 8: "an InstructPix2Pix model", 5: "a depth-to-image model", 7: "an x4 upscaler"}
PARTS = (  # the names that each of the three networks goes by, in any naming
    ("a U-Net", r"^(model\.diffusion_model|model_ema|unet)\.|^(input|down)_blocks\."),
    ("a VAE", r"^(first_stage_model|vae)\.|^(encoder|decoder)\.(down|up|conv_in|mid)"),
    ("a text encoder", r"^(cond_stage_model|text_encoder|text)\.|^(text_model\.)?(embeddings|encoder\.layers)\."),
)


def resembles(weights: Mapping[str, Weight]) -> str | None:
    """What a file seems to be that is not a checkpoint of a known family, from its keys and shapes."""
    for pattern, meaning in KEYS:
        if any(re.search(pattern, name) for name in weights):
            return meaning
    parts = [part for part, pattern in PARTS if any(re.search(pattern, name) for name in weights)]
    if len(parts) < len(PARTS):
        return " and ".join(parts) + " alone" if parts else None
    version = "SD 2" if any(".resblocks." in name for name in weights) else "SD 1"
    for stem in ("model.diffusion_model.input_blocks.0.0.weight", "unet.conv_in.weight", "unet.stem.weight"):
        if stem in weights and len(weights[stem].shape) == 4 and weights[stem].shape[1] in ROLES:
            return f"{ROLES[weights[stem].shape[1]]} of {version}"
    return f"an {version} checkpoint" if version == "SD 2" else None
