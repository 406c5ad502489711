"""How the keys of LoRA files are spelt: which network, which layer of it, which part.

    lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight     kohya, diffusers' names
    lora_unet_input_blocks_1_1_proj_in.lora_up.weight               kohya, CompVis's names
    unet.down_blocks.0.attentions.0.proj_in.lora_B.weight           PEFT, diffusers
    down_blocks.0.….attn1.processor.to_q_lora.up.weight             diffusers, 2023
    diffusion_model.input_blocks.1.1.proj_in.diff                   ComfyUI

A layer's name is compared without its dots, which kohya's files do not have.
"""

import re
from typing import NamedTuple

BEGINS = {  # of a key -> the network; the first that fits
    "lora_unet_": "unet",
    "lora_te1_": "text",
    "lora_te2_": "text2",
    "lora_te_": "text",
    "lycoris_": "unet",
    "base_model.model.unet.": "unet",
    "base_model.model.text_model.": "text",
    "base_model.model.": "unet",
    "unet.": "unet",
    "diffusion_model.": "unet",
    "model.diffusion_model.": "unet",
    "text_encoder_2.": "text2",
    "text_encoder.": "text",
    "text_encoders.clip_l.transformer.": "text",
    "text_encoders.clip_g.transformer.": "text2",
    "clip_l.transformer.": "text",
    "clip_g.transformer.": "text2",
    "": "unet",
}
KEPT = ("base_model.model.text_model.",)  # their last word is a part of the layer's name
UP, DOWN = (
    rf"[._]lora[._](?:linear_layer\.)?{old}\.weight|\.lora_{new}(?:\.[^.]+)?\.weight"
    for old, new in (("up", "B"), ("down", "A"))
)
ENDS = {  # of a key -> the part; patterns
    UP: "up",
    DOWN: "down",
    r"\.lora_mid\.weight": "mid",
    r"\.lora_magnitude_vector(?:\.[^.]+)*": "magnitude",
    r"\.(?P<same>alpha|dora_scale|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t[12])"
    r"|oft_blocks|rescale|on_input|diff|w_norm|set_weight)": None,
    r"\.(?P<factor>a1|a2|b1|b2|bm)\.weight": None,
    r"\.diff_b|\.b_norm": "bias",
    r"\.weight": "weight",
}
END = re.compile("|".join(f"(?P<end{i}>{pattern})" for i, pattern in enumerate(ENDS)))
KEY = re.compile(rf"(?P<layer>.+?)(?:{END.pattern})", re.DOTALL)


class Spelt(NamedTuple):
    """layer       as in the file, without the part
    network, name   unet, text or text2; its layer, with _ for .
    part        see ENDS
    """

    layer: str
    network: str
    name: str
    part: str


def spelt(key: str) -> Spelt | None:
    """What a key says; None: it is no key of a LoRA."""
    found = KEY.fullmatch(key)
    if found is None:
        return None
    named = next(part for i, part in enumerate(ENDS.values()) if found[f"end{i}"] is not None)
    part = named or found["same"] or found["factor"]
    layer = found["layer"]
    begin = next(begin for begin in BEGINS if layer.startswith(begin))
    name = layer.removeprefix(begin)
    if begin in KEPT:
        name = f"text_model.{name}"
    flat = name.replace(".processor.", ".").replace(".", "_")
    return Spelt(layer, BEGINS[begin], flat, part)
