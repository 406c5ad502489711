"""What a file is that is no checkpoint of a known family, for the message that says so."""

import re
from collections.abc import Mapping

from .mapped import Weight

CONTENTS = (  # the first bytes of what people take for a checkpoint
    (b"<", "it is a web page; the download needs a login, or its address is wrong"),
    (
        b"version https://git-lfs",
        "it is Git's pointer to a file that was not fetched; run `git lfs pull`",
    ),
    (b"{", "it is JSON text, perhaps a server's error message; download the file again"),
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
    (b"7z\xbc\xaf", "it is a 7z archive; unpack it first"),
    (b"Rar!", "it is a RAR archive; unpack it first"),
    (
        b"GGUF",
        "it is in the GGUF format of llama.cpp, which is not supported; take the .safetensors file",
    ),
    (b"\x89PNG", "it is a picture"),
    (b"\xff\xd8\xff", "it is a picture"),
    (b"\x80", "it is a pickle that torch did not write"),
    (b"\0" * 16, "it begins with zeros; the download did not finish"),
)


def looks_like(start: bytes) -> str:
    """By the first bytes of a file."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for sign, meaning in CONTENTS:
        if text.startswith(sign):
            return meaning
    return f"it begins with {start[:8]!r}, which no format of checkpoints does"


BESIDE = (  # what a file is in which no network is whole, and whose keys contain the pattern
    (
        r"lora_(unet|te|down|up)|\.lora_[AB]\.|\.hada_w1|\.lokr_w1",
        "a LoRA, which is applied on top of a checkpoint",
    ),
    (r"^(control_model|controlnet_\w+)\.", "a ControlNet, which is used beside a checkpoint"),
    (r"^(image_proj|ip_adapter)\.", "an IP-Adapter, which is used beside a checkpoint"),
    (
        r"^(emb_params|string_to_param|clip_[lg])$",
        "a textual inversion embedding, which is used beside a checkpoint",
    ),
)
KEYS = (  # the same of a whole checkpoint
    (r"double_blocks\.", "a Flux checkpoint"),
    (r"joint_blocks\.|joint_transformer_blocks\.", "an SD 3 checkpoint"),
    (r"^optimizer|^exp_avg", "the state of an optimizer"),
)
PARTS = (  # the names that each of the three networks goes by, in any key format
    ("a U-Net", r"^(model\.diffusion_model|model_ema|unet)\.|^(input|down)_blocks\."),
    ("a VAE", r"^(first_stage_model|vae)\.|^(encoder|decoder)\.(down|up|conv_in|mid)"),
    (
        "a text encoder",
        r"^(cond_stage_model|conditioner|text_encoder|text)\."
        r"|^(text_model\.)?(embeddings|encoder\.layers)\.",
    ),
)


def guess_type(weights: Mapping[str, Weight], mapped: bool = False) -> str | None:
    """From its keys and shapes; None: it may be any.

    mapped   some of its tensors are parameters of a known family
    """
    parts = [part for part, pattern in PARTS if any(re.search(pattern, name) for name in weights)]
    whole = mapped or len(parts) == len(PARTS)
    for pattern, meaning in KEYS if whole else (*BESIDE, *KEYS):
        if any(re.search(pattern, name) for name in weights):
            return meaning
    if parts == ["a U-Net", "a text encoder"]:
        return f"{' and '.join(parts)} alone. {NO_VAE}"
    if len(parts) < len(PARTS):
        return " and ".join(parts) + " alone" if parts else None
    return None


NO_VAE = "Its VAE is missing: take the file with the VAE in it, or add the tensors of one"
