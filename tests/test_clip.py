"""The text encoder: one layer by hand, causality, and what each of its three outputs is."""

import math
from dataclasses import replace

import pytest
import torch

from ldm.clip.config import TextConfig
from ldm.clip.model import TextEncoder
from ldm.models.families import SD1

CONFIG = TextConfig(
    vocabulary=50, length=11, width=24, layers=3, heads=3, mlp_width=40, activation="quick_gelu",
    layer=1, final_norm=True, pad=None, projection=None,
)  # fmt: skip
END = 49


def encoder(config: TextConfig = CONFIG, seed: int = 0) -> TextEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TextEncoder(config).double().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return model.requires_grad_(False)


def random_ids(batch: int, length: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, END, (batch, length), generator=torch.Generator().manual_seed(seed))


def normed(x, norm):
    return (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize(
    ("activation", "sigma"),
    [
        ("quick_gelu", lambda h: 1 / (1 + math.exp(-1.702 * h))),
        ("gelu", lambda h: (1 + math.erf(h / 2**0.5)) / 2),
    ],
)
def test_one_layer_token_by_token(activation, sigma):
    model = encoder(replace(CONFIG, layers=1, activation=activation))
    ids = random_ids(1, 5)
    layer, attn, mlp = model.layers[0], model.layers[0].attn, model.layers[0].mlp
    x = [model.token.weight[i] + model.position.weight[j] for j, i in enumerate(ids[0])]
    n = [normed(token, layer.norm1) for token in x]
    for j in range(5):
        heads = []
        for head in (slice(0, 8), slice(8, 16), slice(16, 24)):
            q = attn.q(n[j])[head]
            scores = torch.stack([q @ attn.k(n[i])[head] / 8**0.5 for i in range(j + 1)])
            shares = scores.exp() / scores.exp().sum()
            heads.append(sum(share * attn.v(n[i])[head] for i, share in enumerate(shares)))
        h = x[j] + attn.out(torch.cat(heads))
        up = mlp.up(normed(h, layer.norm2))
        h = h + mlp.down(torch.stack([value * sigma(value) for value in up]))
        torch.testing.assert_close(model(ids).hidden[1][0, j], h, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            model(ids).last[0, j], normed(h, model.norm), rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("j", range(7))
def test_a_token_changes_nothing_before_itself(j):
    model, ids = encoder(), random_ids(3, 7)
    other = ids.clone()
    other[:, j] = (ids[:, j] + 1) % END
    before, after = model(ids).last, model(other).last
    assert before[:, :j].equal(after[:, :j])
    assert (before[:, j:] - after[:, j:]).abs().amin(dim=0).amax(
        dim=1
    ).min() > 1e-3  # it reaches every later token


def test_hidden_states_start_at_the_embedding_and_end_before_the_norm():
    model, ids = encoder(), random_ids(2, 6)
    out = model(ids)
    assert len(out.hidden) == CONFIG.layers + 1
    assert all(state.shape == (2, 6, 24) for state in (*out.hidden, out.last))
    assert out.hidden[0].equal(model.token(ids) + model.position.weight[:6])
    assert out.last.equal(model.norm(out.hidden[-1]))
    for layer, (before, after) in zip(model.layers, zip(out.hidden, out.hidden[1:])):
        assert layer(before).equal(after)


def test_pooled_is_read_at_the_first_end_token():
    ids = random_ids(3, 8)
    ids[0, 2:] = END  # padded with the end token, as Stable Diffusion 1 does
    ids[1, 5], ids[1, 6:] = END, 0  # padded with zeros, as Stable Diffusion 2 does
    ids[2, 7] = END
    out = encoder()(ids)
    assert out.pooled.equal(torch.stack([out.last[0, 2], out.last[1, 5], out.last[2, 7]]))


def test_tokens_beyond_the_vocabulary_do_not_move_the_end():
    """Textual inversion adds tokens, whose ids follow the end's."""
    model, ids = encoder(), random_ids(1, 6)
    model.token = torch.nn.Embedding(52, 24, dtype=torch.float64)
    ids[0, 1], ids[0, 3] = END + 2, END
    out = model(ids)
    assert out.pooled.equal(out.last[:, 3])


def test_pooled_is_projected_where_there_is_a_projection():
    model, ids = encoder(replace(CONFIG, projection=10)), random_ids(2, 6)
    ids[:, 4] = END
    out = model(ids)
    assert model.projection.bias is None
    torch.testing.assert_close(out.pooled, out.last[:, 4] @ model.projection.weight.T)
    assert out.pooled.shape == (2, 10)


def test_rows_of_a_batch_do_not_meet():
    model, ids = encoder(), random_ids(4, 7)
    torch.testing.assert_close(model(ids).last[2:3], model(ids[2:3]).last, rtol=1e-12, atol=1e-12)


def test_the_clip_of_stable_diffusion_has_its_published_size():
    with torch.device("meta"):
        model = TextEncoder(SD1.text[0])
    assert sum(p.numel() for p in model.parameters()) == 123_060_480
