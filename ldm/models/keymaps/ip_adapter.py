"""What each layer of an IP-Adapter is called: here, and in all files."""

from collections.abc import Iterator

from ...unet.ip_adapter import IPAdapterConfig
from .control import BARE
from .rows import Row, row, with_prefix

LINEAR = (("linear", "proj"), ("norm", "norm"))
MLP = (("up", "proj.0"), ("down", "proj.2"), ("norm", "proj.3"))
RESAMPLER = (("inward", "proj_in"), ("outward", "proj_out"), ("norm", "norm_out"))
RESAMPLER_LAYER = (
    ("norm_x", "0.norm1", True),
    ("norm_queries", "0.norm2", True),
    ("q", "0.to_q", False),
    ("kv", "0.to_kv", False),
    ("out", "0.to_out", False),
    ("norm_mlp", "1.0", True),
    ("mlp_up", "1.1", False),
    ("mlp_down", "1.3", False),
)


def ip_adapter_rows(config: IPAdapterConfig) -> Iterator[Row]:
    """The cross-attentions have the odd numbers: the even ones are of self-attentions."""
    projection = "projection.", "image_proj.", "image_proj."
    yield from with_prefix(*projection, projection_rows(config))
    for i in range(len(config.widths)):
        for kind in ("k", "v"):
            name = f"ip_adapter.{2 * i + 1}.to_{kind}_ip"
            yield row(f"{kind}.{i}", name, name, bias=False)


def projection_rows(config: IPAdapterConfig) -> Iterator[Row]:
    if config.projection != "resampler":
        for ours, theirs in LINEAR if config.projection == "linear" else MLP:
            yield row(ours, theirs, theirs)
        return
    yield row("queries", "latents", "latents", bias=False, form=BARE)
    for ours, theirs in RESAMPLER:
        yield row(ours, theirs, theirs)
    for i in range(config.layers):
        for ours, theirs, bias in RESAMPLER_LAYER:
            name = f"layers.{i}.{theirs}"
            yield row(f"layers.{i}.{ours}", name, name, bias)
