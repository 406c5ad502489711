"""LoRA files of every kind, with random numbers, for tests."""

from math import prod

import torch
from safetensors.torch import save_file

from ldm.models.family import parameter_shapes
from ldm.models.keymaps import components

RANK = 4


def draw(seed, *shape, dtype=torch.float32):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def parts_of(kind, shape, seed=0, dtype=torch.float32):
    """The parts of a layer of a kind for a weight of that shape, by the ends of their keys."""
    outputs, inputs, *kernel = shape
    ones = [1] * len(kernel)

    def n(*sizes):
        nonlocal seed
        seed += 1
        return draw(seed, *sizes, dtype=dtype)

    alpha = {"alpha": torch.tensor(2.0)}
    rows, flat = (outputs, *[1] * (len(shape) - 1)), inputs * prod(kernel)
    lora = {
        "lora_up.weight": n(outputs, RANK, *ones),
        "lora_down.weight": n(RANK, inputs, *kernel),
        **alpha,
    }
    hada = {
        f"hada_w{i}_{x}": n(*s) for i in (1, 2) for x, s in (("a", (outputs, 4)), ("b", (4, flat)))
    }
    made = {
        "LoRA": lambda: lora,
        "LoCon, Tucker": lambda: lora | {
            "lora_down.weight": n(RANK, inputs, *ones), "lora_mid.weight": n(RANK, RANK, *kernel),
        },
        "DoRA, outputs": lambda: lora | {"dora_scale": n(*rows).abs() + 1},
        "DoRA, inputs": lambda: lora | {"dora_scale": n(1, inputs, *ones).abs() + 1},
        "LoHa": lambda: hada | alpha,
        "LoHa, Tucker": lambda: {
            **{f"hada_w{i}_a": n(RANK, outputs) for i in (1, 2)},
            **{f"hada_w{i}_b": n(RANK, inputs) for i in (1, 2)},
            **{f"hada_t{i}": n(RANK, RANK, *kernel) for i in (1, 2)}, **alpha,
        },
        "LoKr, whole": lambda: {
            "lokr_w1": n(2, 2), "lokr_w2": n(outputs // 2, inputs // 2, *kernel), **alpha,
        },
        "LoKr": lambda: {
            "lokr_w1": n(2, 2), "lokr_w2_a": n(outputs // 2, RANK),
            "lokr_w2_b": n(RANK, flat // 2), **alpha,
        },
        "LoKr, both": lambda: {
            "lokr_w1_a": n(4, RANK), "lokr_w1_b": n(RANK, 4), "lokr_w2_a": n(outputs // 4, RANK),
            "lokr_w2_b": n(RANK, flat // 4), **alpha,
        },
        "OFT": lambda: {"oft_blocks": n(outputs // 4, 4, 4), "alpha": torch.tensor(0.01)},
        "BOFT": lambda: {
            "oft_blocks": n(2 if outputs % 8 == 0 else 1, outputs // 4, 4, 4),
            "rescale": n(*rows) + 1,
        },
        "GLoRA": lambda: {
            "a1.weight": n(inputs, RANK, *ones), "a2.weight": n(RANK, inputs, *ones),
            "b1.weight": n(outputs, RANK, *ones), "b2.weight": n(RANK, inputs, *kernel), **alpha,
        },
        "GLoRA, old": lambda: {
            "a1.weight": n(RANK, inputs), "a2.weight": n(inputs, RANK),
            "b1.weight": n(RANK, flat), "b2.weight": n(outputs, RANK), **alpha,
        },
        "IA3, inputs": lambda: {"weight": n(inputs, *ones), "on_input": torch.tensor(True)},
        "IA3, outputs": lambda: {"weight": n(*rows), "on_input": torch.tensor(False)},
        "full": lambda: {"diff": n(*shape), "diff_b": n(outputs)},
        "set": lambda: {"set_weight": n(*shape)},
    }  # fmt: skip
    return made[kind]()


KINDS = (
    *("LoRA", "LoCon, Tucker", "DoRA, outputs", "DoRA, inputs", "LoHa", "LoHa, Tucker"),
    *("LoKr, whole", "LoKr", "LoKr, both", "OFT", "BOFT", "GLoRA", "GLoRA, old"),
    *("IA3, inputs", "IA3, outputs", "full", "set"),
)
OF_CONVOLUTIONS = {"LoCon, Tucker": "LoRA", "LoHa, Tucker": "LoHa"}  # and of linear layers
PREFIX = {"unet": "lora_unet_", "text": "lora_te1_", "text2": "lora_te2_"}


def names_of(family, column="diffusers"):
    """Layer of ours -> its key in kohya's files."""
    found = {}
    for part in components(family):
        prefix = PREFIX.get(part.name)
        if part.name == "text" and len(family.text) == 1:
            prefix = "lora_te_"
        for row in part.rows if prefix else ():
            name = row.names(column if part.name == "unet" else "diffusers")[0]
            found[f"{part.name}.{row.ours}"] = prefix + name.replace(".", "_")
    return found


def some_layers(family):
    """A few layers of each sort: attention with and without the text, a convolution, projections,
    and a text encoder's."""
    ends = ("self_attn.q", "cross_attn.k", "self_attn.out", "conv1", "proj_in", "mlp.down")
    found = {}
    for layer in names_of(family):
        end = next((end for end in ends if layer.endswith(f".{end}")), None)
        key = layer.partition(".")[0], end
        if end is not None:
            found.setdefault(key, layer)
    return list(found.values())


def tensors(family, kind, layers=None, column="diffusers", dtype=torch.float32):
    """A whole file's."""
    names, shapes = names_of(family, column), parameter_shapes(family)
    found = {}
    for seed, layer in enumerate(layers or some_layers(family)):
        shape = shapes[f"{layer}.weight"]
        linear = kind in OF_CONVOLUTIONS and len(shape) < 4
        own = OF_CONVOLUTIONS[kind] if linear else kind
        for end, tensor in parts_of(own, shape, 100 * seed, dtype).items():
            if end == "diff_b" and f"{layer}.bias" not in shapes:
                continue
            found[f"{names[layer]}.{end}"] = tensor.contiguous()
    return found


def write(path, found, **metadata):
    save_file(found, path, metadata)
    return path
