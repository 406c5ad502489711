"""DPT-Hybrid against transformers' with the same random weights."""

import json

import pytest
import torch
import transformers

from depth_files import write_file
from helpers import random_picture
from ldm.images.files import to_tensor
from ldm.models.depth.dpt import DPT, DPTConfig
from ldm.models.depth.names import dpt_rows
from ldm.models.keymaps import sources
from ldm.models.weights import read, save

TINY_DPT = DPTConfig(
    size=64, stem=16, stages=(32, 64, 96), blocks=(1, 2, 2), groups=8, width=48, layers=4, heads=3,
    mlp_width=80, tapped=(40, 56), fusion=24, head=(12, 32), classes=None,
)  # fmt: skip


def their_dpt(config: DPTConfig):
    """Their epsilon of the layer norms is another by default; ours is that of timm, in which MiDaS
    was trained."""
    return transformers.DPTForDepthEstimation(
        transformers.DPTConfig(
            is_hybrid=True, hidden_size=config.width, num_hidden_layers=config.layers,
            num_attention_heads=config.heads, intermediate_size=config.mlp_width,
            image_size=config.size, patch_size=16, reassemble_factors=[1, 1, 1, 0.5],
            neck_hidden_sizes=[*config.stages[:2], *config.tapped],
            fusion_hidden_size=config.fusion, layer_norm_eps=1e-6,
            backbone_out_indices=[0, 1, config.layers * 3 // 4 - 1, config.layers - 1],
            backbone_featmap_shape=[1, config.stages[2], config.size // 16, config.size // 16],
            backbone_config={
                "model_type": "bit", "global_padding": "same", "layer_type": "bottleneck",
                "depths": config.blocks, "embedding_size": config.stem,
                "hidden_sizes": config.stages, "num_groups": config.groups,
                "out_features": ["stage1", "stage2", "stage3"], "embedding_dynamic_padding": True,
            },
        )
    ).eval()  # fmt: skip


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def both(request):
    """Of an odd size of pictures, too, and weights that keep the size of what goes through."""
    ours, theirs = DPT(TINY_DPT).eval(), their_dpt(TINY_DPT)
    generator, state, other = torch.Generator().manual_seed(0), {}, {}
    where = sources("", dpt_rows(TINY_DPT), "diffusers")
    for name, parameter in ours.state_dict().items():
        tensor = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            tensor *= parameter[0].numel() ** -0.5
        else:
            tensor = 0.2 * tensor + float("norm" in name and name.endswith("weight"))
        tensor += 0.1 * (name == "out.bias")  # so that no pixel is cut off at 0
        source = where[f".{name}"]
        state[name] = tensor
        other[source.names[0]] = (
            tensor if source.operation is None else source.operation.theirs(tensor)
        )
    ours.load_state_dict(state)
    theirs.load_state_dict(other)
    return ours.to(request.param), theirs.to(request.param)


def near(ours, theirs):
    assert ours.std() > 0.01
    bound = 1e-5 if ours.dtype == torch.float32 else 1e-11
    torch.testing.assert_close(ours, theirs, rtol=0, atol=bound * float(theirs.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("side", [64, 96, 160])
def test_square_pictures(both, side):
    """Of the size of training, and of others, where positions lie between its own."""
    ours, theirs = both
    x = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    x = x.to(next(ours.parameters()))
    theirs.dpt.embeddings.image_size = (side, side)
    near(ours(x)[:, 0], theirs(x).predicted_depth)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(64, 128), (160, 96)])
def test_other_pictures(both, height, width):
    """Theirs does not tell its neck that they are not square."""
    ours, theirs = both
    x = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(1))
    x = x.to(next(ours.parameters()))
    theirs.dpt.embeddings.image_size = (height, width)
    found = theirs.dpt(x, output_hidden_states=True)
    maps = [*found.intermediate_activations, found.hidden_states[3], found.hidden_states[4]]
    expected = theirs.head(theirs.neck(maps, height // 16, width // 16))
    near(ours(x)[:, 0], expected)


@torch.no_grad()
def test_a_mistake_is_heard(both):
    """Each parameter counts, but for those that nothing reads, and what softmax does not see."""
    ours, _ = both
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    x = x.to(next(ours.parameters()))
    right = ours(x)
    for name, parameter in ours.named_parameters():
        if name.startswith(("norm.", "fusion.3.res1")) or name.endswith("attn.k.bias"):
            continue
        before = parameter.clone()
        parameter += 0.1 * torch.randn_like(parameter)
        changed = (ours(x) - right).abs().max() / right.abs().max()
        parameter.copy_(before)
        assert changed > 1e-4, name


def test_the_estimator_of_a_folder_is_one_of_transformers(tmp_path):
    """Written by this library, read by theirs: the weights, the config and the processor."""
    write_file(tmp_path / "x.safetensors")
    model = read(tmp_path / "x.safetensors")
    save(tmp_path / "x", model, "diffusers")
    index = json.loads((tmp_path / "x" / "model_index.json").read_text())
    assert index["depth_estimator"] == ["transformers", "DPTForDepthEstimation"]
    theirs, told = transformers.DPTForDepthEstimation.from_pretrained(
        tmp_path / "x" / "depth_estimator", output_loading_info=True
    )
    assert not any(told.values())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs.eval()(x).predicted_depth
        near(model.depth.network(torch.device("cpu"))(x)[:, 0], expected)
    kind = getattr(transformers, index["feature_extractor"][1])
    processor = kind.from_pretrained(tmp_path / "x" / "feature_extractor")
    picture = random_picture(64, 64)
    seen = processor(images=picture, return_tensors="pt").pixel_values
    torch.testing.assert_close(seen, to_tensor(picture), rtol=0, atol=1e-6)
