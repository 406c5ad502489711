"""The text encoder against transformers' CLIPTextModel with the same random weights."""

import pytest
import torch

from ldm.clip.model import TextConfig, TextEncoder

transformers = pytest.importorskip("transformers")

THEIRS_TO_OURS = {  # in this order
    "text_model.": "",
    "embeddings.token_embedding": "token",
    "embeddings.position_embedding": "position",
    "final_layer_norm": "norm",
    "encoder.layers": "layers",
    "layer_norm": "norm",
    "self_attn.out_proj": "attn.out",
    "self_attn": "attn",
    "_proj": "",
    "fc1": "up",
    "fc2": "down",
}


def both(config: TextConfig, dtype: torch.dtype):
    """The two models with the same random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=config.vocabulary,
                max_position_embeddings=config.length,
                hidden_size=config.width,
                intermediate_size=4 * config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                hidden_act=config.activation,
                bos_token_id=config.vocabulary - 2,
                eos_token_id=config.vocabulary - 1,
            )
        )
        for name, parameter in theirs.named_parameters():
            if parameter.ndim == 1:  # biases and norms start as 0 and 1, which would hide a mistake
                torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.1)
    weights = {}
    for name, weight in theirs.state_dict().items():
        if not name.endswith("position_ids"):
            for a, b in THEIRS_TO_OURS.items():
                name = name.replace(a, b)
            weights[name] = weight
    with torch.device("meta"):
        ours = TextEncoder(config)
    ours.load_state_dict(weights, assign=True)
    return ours.to(dtype).eval().requires_grad_(False), theirs.to(dtype).eval().requires_grad_(False)


def random_ids(config: TextConfig, batch: int, length: int) -> torch.Tensor:
    """Random tokens; an end token in the middle of the first row and at the end of the others."""
    end = config.vocabulary - 1
    ids = torch.randint(0, end - 1, (batch, length), generator=torch.Generator().manual_seed(1))
    ids[0, length // 2 :] = end
    ids[:, -1] = end
    return ids


def assert_equal(config: TextConfig, batch: int, length: int, dtype: torch.dtype, tolerance: float):
    """Every output within `tolerance`, both absolute and relative to the largest number of theirs."""
    ours, theirs = both(config, dtype)
    ids = random_ids(config, batch, length)
    got, expected = ours(ids), theirs(ids, output_hidden_states=True)
    pairs = [(got.last, expected.last_hidden_state), (got.pooled, expected.pooler_output)]
    pairs += zip(got.hidden, expected.hidden_states, strict=True)
    for a, b in pairs:
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * min(1.0, b.abs().max())


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(
    ("batch", "length", "width", "layers", "heads"), [(3, 7, 36, 2, 3), (1, 13, 20, 3, 1), (2, 2, 40, 1, 5)]
)
def test_small_odd_sizes(batch, length, width, layers, heads, activation):
    config = TextConfig(97, 13, width, layers, heads, activation)
    assert_equal(config, batch, length, torch.float64, 1e-10)


def test_full_size():
    assert_equal(TextConfig(49408, 77, 768, 12, 12, "quick_gelu"), 2, 77, torch.float32, 1e-4)
