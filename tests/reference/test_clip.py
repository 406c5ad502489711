"""The text encoder against transformers' CLIPTextModel with the same random weights."""

import pytest
import torch
from theirs import their_text

from ldm.clip.config import TextConfig
from ldm.clip.model import TextEncoder
from ldm.models.families import SD1


def both(share_weights, config: TextConfig, dtype: torch.dtype):
    """The two models with the same random weights."""
    with torch.device("meta"):
        ours = TextEncoder(config)
    theirs, names = their_text(config)
    share_weights(ours, theirs, names, dtype)
    return ours, theirs.to(dtype)


def random_ids(config: TextConfig, batch: int, length: int) -> torch.Tensor:
    """Random tokens; an end token in the middle of the first row and at the end of the others."""
    end = config.vocabulary - 1
    ids = torch.randint(0, end - 1, (batch, length), generator=torch.Generator().manual_seed(1))
    ids[0, length // 2 :] = end
    ids[:, -1] = end
    return ids


def assert_equal(share_weights, config: TextConfig, batch, length, dtype, tolerance):
    """Every output within `tolerance`, both absolute and relative to the largest number of
    theirs."""
    ours, theirs = both(share_weights, config, dtype)
    ids = random_ids(config, batch, length)
    got, expected = ours(ids), theirs(ids, output_hidden_states=True)
    pooled = expected.pooler_output if config.projection is None else expected.text_embeds
    pairs = [(got.last, expected.last_hidden_state), (got.pooled, pooled)]
    pairs += zip(got.hidden, expected.hidden_states, strict=True)
    for a, b in pairs:
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * min(1.0, b.abs().max())


@pytest.mark.parametrize("projection", [None, 5])
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(
    ("batch", "length", "width", "layers", "heads"),
    [(3, 7, 36, 2, 3), (1, 13, 20, 3, 1), (2, 2, 40, 1, 5)],
)
def test_small_odd_sizes(
    share_weights, batch, length, width, layers, heads, activation, projection
):
    config = TextConfig(
        vocabulary=97, length=13, width=width, layers=layers, heads=heads, mlp_width=3 * width,
        activation=activation, layer=1, final_norm=True, pad=None, projection=projection,
    )  # fmt: skip
    assert_equal(share_weights, config, batch, length, torch.float64, 1e-10)


def test_full_size(share_weights):
    assert_equal(share_weights, SD1.text[0], 2, 77, torch.float32, 1e-4)
