"""What the shapes in the file of an IP-Adapter tell of it."""

from ...unet import UNetConfig
from ...unet.ip_adapter import HEAD, IPAdapterConfig, widths
from .recognise import Found

BEGIN = "image_proj."
FIRST = "ip_adapter.{}.to_k_ip.weight"
FACES = (
    "it reads faces that InsightFace's networks have found (FaceID), which are not supported here: "
    "take an IP-Adapter that reads pictures"
)


def ip_adapter_config(found: Found, unet: UNetConfig) -> IPAdapterConfig:
    """ValueError: its tensors do not go together, or not with the U-Net; or it is a FaceID."""
    names, own = found.weights, widths(unet)
    if f"{BEGIN}proj.2.weight" in names and f"{BEGIN}proj.3.weight" not in names:
        raise ValueError(FACES)
    numbers = sum(name.endswith(".to_k_ip.weight") for name in names)
    if numbers != len(own):
        raise ValueError(f"it is for {numbers} cross-attentions, and this U-Net has {len(own)}")
    width, context = found.shape(FIRST.format(1))
    if (width, context) != (own[0], unet.context_width):
        theirs = f"{width} wide, of a text of {context}"
        wanted = f"{own[0]}, of {unet.context_width}"
        raise ValueError(f"its first cross-attention is {theirs}, and not {wanted}")
    if f"{BEGIN}proj.weight" in names:
        out, inputs = found.shape(f"{BEGIN}proj.weight")
        if out % context:
            raise ValueError(f"{BEGIN}proj.weight makes no whole tokens of {context}")
        return IPAdapterConfig("linear", inputs, context, out // context, own)
    if f"{BEGIN}proj.3.weight" in names:
        inputs = found.shape(f"{BEGIN}proj.0.weight")[1]
        return IPAdapterConfig("mlp", inputs, context, 0, own)
    return resampler(found, context, own)


def resampler(found: Found, context: int, own: tuple[int, ...]) -> IPAdapterConfig:
    width, inputs = found.shape(f"{BEGIN}proj_in.weight")
    tokens = found.shape(f"{BEGIN}latents")[-2]
    inner = found.shape(f"{BEGIN}layers.0.0.to_q.weight")[0]
    if inner % HEAD:
        raise ValueError(f"{BEGIN}layers.0.0.to_q.weight is no multiple of {HEAD} wide")
    mlp_width = found.shape(f"{BEGIN}layers.0.1.1.weight")[0]
    layers = found.count(BEGIN + "layers.{}.")
    return IPAdapterConfig(
        "resampler", inputs, context, tokens, own, width, inner, mlp_width, layers
    )
