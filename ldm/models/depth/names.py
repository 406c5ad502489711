"""What each layer of DPT-Hybrid is called, see `keymaps.rows`: in MiDaS's files, as Stability's
hold them, and in those of transformers, as diffusers' folders do. And its sizes, from shapes.
"""

import re
from collections.abc import Iterator, Mapping

from ..keymaps import KeyFormat, sources
from ..keymaps.rows import Form, Operation, Row, row, with_prefix
from .dpt import HYBRID, PATCH, DPTConfig

BEGIN: dict[KeyFormat, str] = {  # of all names in a checkpoint
    "ldm": "depth.", "compvis": "depth_model.model.", "diffusers": "depth_estimator.",
}  # fmt: skip
BATCHED = Form(suffix="", operation=Operation(lambda x: x[0], lambda x: x[None]))
QKV = tuple(Form(part=(i, 3)) for i in range(3))

THEIR_BACKBONE = "dpt.embeddings.backbone.bit."
LAYER = (
    row("norm1", "norm1", "layernorm_before"),
    *(
        row(f"attn.{ours}", "attn.qkv", f"attention.attention.{theirs}", form=form)
        for ours, theirs, form in zip("qkv", ("query", "key", "value"), QKV)
    ),
    row("attn.out", "attn.proj", "attention.output.dense"),
    row("norm2", "norm2", "layernorm_after"),
    row("mlp.up", "mlp.fc1", "intermediate.dense"),
    row("mlp.down", "mlp.fc2", "output.dense"),
)


def dpt_rows(config: DPTConfig) -> Iterator[Row]:
    vit = "pretrained.model."
    theirs = f"{vit}patch_embed.backbone.", THEIR_BACKBONE
    yield from with_prefix("resnet.", *theirs, resnet_rows(config))
    yield row("patches", f"{vit}patch_embed.proj", "dpt.embeddings.projection")
    for ours, compvis, folder in (
        ("first", "cls_token", "cls_token"),
        ("position", "pos_embed", "position_embeddings"),
    ):
        names = (vit + compvis,), (f"dpt.embeddings.{folder}",)
        yield Row(ours, *names, False, BATCHED, BATCHED)
    for i in range(config.layers):
        names_of = f"{vit}blocks.{i}.", f"dpt.encoder.layer.{i}."
        yield from with_prefix(f"layers.{i}.", *names_of, LAYER)
    yield row("norm", f"{vit}norm", "dpt.layernorm")
    if config.classes is not None:
        yield row("classes", f"{vit}head", ())
    yield from neck_rows()


def resnet_rows(config: DPTConfig) -> Iterator[Row]:
    yield row("stem", "stem.conv", "embedder.convolution", bias=False)
    yield row("norm", "stem.norm", "embedder.norm")
    for i, count in enumerate(config.blocks):
        for j in range(count):
            ours = f"stages.{i}.{j}."
            names = ours, f"stages.{i}.blocks.{j}.", f"encoder.stages.{i}.layers.{j}."
            inside = [
                row(f"{kind}{k}", f"{kind}{k}", f"{kind}{k}", bias=kind == "norm")
                for k in (1, 2, 3)
                for kind in ("conv", "norm")
            ]
            if not j:
                inside.append(row("skip.conv", "downsample.conv", "downsample.conv", bias=False))
                inside.append(row("skip.norm", "downsample.norm", "downsample.norm"))
            yield from with_prefix(*names, inside)


def neck_rows() -> Iterator[Row]:
    stage = "neck.reassemble_stage."
    for i, post in enumerate(("pretrained.act_postprocess3.", "pretrained.act_postprocess4.")):
        ours, layer = f"reassemble.{i}.", f"{stage}layers.{i + 2}."
        yield row(f"{ours}read", f"{post}0.project.0", f"{stage}readout_projects.{i + 2}.0")
        yield row(f"{ours}out", f"{post}3", f"{layer}projection")
        if i:
            yield row(f"{ours}shrink", f"{post}4", f"{layer}resize")
    for i in range(4):
        yield row(f"maps.{i}", f"scratch.layer{i + 1}_rn", f"neck.convs.{i}", bias=False)
        compvis, theirs = f"scratch.refinenet{i + 1}.", f"neck.fusion_stage.layers.{3 - i}."
        yield row(f"fusion.{i}.out", f"{compvis}out_conv", f"{theirs}projection")
        for k in (1, 2):
            for j in (1, 2):
                yield row(
                    f"fusion.{i}.res{k}.conv{j}",
                    f"{compvis}resConfUnit{k}.conv{j}",
                    f"{theirs}residual_layer{k}.convolution{j}",
                )
    for ours, number in (("head1", 0), ("head2", 2), ("out", 4)):
        yield row(ours, f"scratch.output_conv.{number}", f"head.head.{number}")


def config_of(shapes: Mapping[str, tuple[int, ...]], key_format: KeyFormat) -> DPTConfig:
    """The sizes of the estimator that has tensors of these names and shapes; of no more layers than
    the published one. LookupError: it is none.

    What no shape tells is as in the published one: groups of 32 channels, heads of 64.
    """
    known = sources("", dpt_rows(HYBRID), key_format)
    found = {
        ours.removeprefix("."): shapes[source.names[0]]
        for ours, source in known.items()
        if source.names and source.names[0] in shapes
    }

    def out(layer: str) -> int:
        return found[f"{layer}.weight"][0]

    def count(pattern: str) -> int:
        return len({match[1] for name in found if (match := re.match(pattern, name))})

    width = out("patches")
    return DPTConfig(
        size=PATCH * round((found["position.weight"][-2] - 1) ** 0.5),
        stem=out("resnet.stem"),
        stages=tuple(out(f"resnet.stages.{i}.0.conv3") for i in range(3)),
        blocks=tuple(count(rf"resnet\.stages\.{i}\.(\d+)\.") for i in range(3)),
        groups=HYBRID.groups,
        width=width,
        layers=count(r"layers\.(\d+)\."),
        heads=max(width // 64, 1),
        mlp_width=out("layers.0.mlp.up"),
        tapped=tuple(out(f"reassemble.{i}.out") for i in range(2)),
        fusion=out("maps.0"),
        head=tuple(out(f"head{i}") for i in (1, 2)),
        classes=out("classes") if "classes.weight" in found else None,
    )
