"""The change that each kind of LoRA makes: its formula, written once more entry by entry, and what
the program computes that the kind comes from."""

from itertools import product

import pytest
import torch

import loras
from ldm.models.lora import applying
from ldm.models.lora.dora import decomposed
from ldm.models.lora.file import lora_of
from ldm.models.weights.opening import open_checkpoint

SHAPES = {"linear": (16, 24), "projection": (24, 16, 1, 1), "convolution": (16, 8, 3, 3)}
CASES = [
    (kind, name)
    for kind, name in product(loras.KINDS, SHAPES)
    if name == "convolution" or kind not in loras.OF_CONVOLUTIONS
]


def layer(tmp_path, kind, shape):
    """A layer of a file in float64, and its parts."""
    parts = loras.parts_of(kind, shape, dtype=torch.float64)
    found = {f"lora_unet_conv_in.{end}": tensor for end, tensor in parts.items()}
    path = loras.write(tmp_path / "x.safetensors", found)
    (only,) = lora_of(open_checkpoint(path), "x").layers
    return only, parts


def weight(shape):
    return loras.draw(99, *shape, dtype=torch.float64)


def change_of(found, w, strength):
    delta, factor = applying.change_of(found, w, strength)
    return factor * delta


def by_hand(kind, w, parts):
    """W' - W, one output and input after the other where a program would use a library's function.
    2 is alpha, and loras.RANK the rank."""
    flat, s = w.flatten(1), 2 / loras.RANK
    p = {name.removesuffix(".weight"): part for name, part in parts.items()}

    def dora(delta):
        whole = w + s * delta.reshape(w.shape)
        new = torch.empty_like(w)
        for i in range(w.shape[0] if kind == "DoRA, outputs" else w.shape[1]):
            at = (i,) if kind == "DoRA, outputs" else (slice(None), i)
            new[at] = p["dora_scale"].flatten()[i] * whole[at] / (whole[at] ** 2).sum().sqrt()
        return (new - w).flatten(1)

    def tucker(core, a, b):
        """sum over i, j of a[i, o] b[j, c] core[i, j]"""
        return sum(
            a[i][:, None, None, None] * b[j][None, :, None, None] * core[i, j]
            for i in range(loras.RANK)
            for j in range(loras.RANK)
        ).flatten(1)

    def kron(c, d):
        d = d.reshape(len(w) // len(c), w.shape[1] // c.shape[1], *w.shape[2:])
        return torch.cat([torch.cat([x * d for x in row], 1) for row in c]).flatten(1)

    def cayley(b, limit=None):
        q = b - b.mT
        length = (q**2).sum().sqrt()
        q = q if limit is None or length <= limit else q * limit / length
        one = torch.eye(4, dtype=q.dtype)
        return torch.linalg.solve((one - q).mT, (one + q).mT).mT

    def butterfly(blocks):
        r, x = cayley(blocks), flat
        for i, factor in enumerate(r):
            apart = 2 * 2**i
            places = torch.arange(len(w)).reshape(-1, 2, apart).mT.flatten()
            turned = torch.empty_like(x)
            for k, block in enumerate(factor):
                turned[places[4 * k : 4 * k + 4]] = block @ x[places[4 * k : 4 * k + 4]]
            x = turned
        return p["rescale"].flatten()[:, None] * x - flat

    def lora():
        return p["lora_up"].flatten(1) @ p["lora_down"].flatten(1)

    def glora(a1, a2, b1, b2):
        a = a1.flatten(1) @ a2.flatten(1)
        within = sum(
            w[:, i : i + 1] * a[i].reshape(1, -1, *[1] * (w.dim() - 2)) for i in range(len(a))
        )
        return s * (within.flatten(1) + b1.flatten(1) @ b2.flatten(1))

    of_inputs = [1, -1] + [1] * (w.dim() - 2)
    return {
        "LoRA": lambda: s * lora(),
        "LoCon, Tucker": lambda: s * tucker(
            p["lora_mid"], p["lora_up"].flatten(1).T, p["lora_down"].flatten(1)
        ),
        "DoRA, outputs": lambda: dora(lora()),
        "DoRA, inputs": lambda: dora(lora()),
        "LoHa": lambda: s * (p["hada_w1_a"] @ p["hada_w1_b"]) * (p["hada_w2_a"] @ p["hada_w2_b"]),
        "LoHa, Tucker": lambda: s * tucker(*(p[f"hada_{x}"] for x in ("t1", "w1_a", "w1_b")))
        * tucker(*(p[f"hada_{x}"] for x in ("t2", "w2_a", "w2_b"))),
        "LoKr, whole": lambda: kron(p["lokr_w1"], p["lokr_w2"]),
        "LoKr": lambda: s * kron(p["lokr_w1"], p["lokr_w2_a"] @ p["lokr_w2_b"]),
        "LoKr, both": lambda: s * kron(
            p["lokr_w1_a"] @ p["lokr_w1_b"], p["lokr_w2_a"] @ p["lokr_w2_b"]
        ),
        "OFT": lambda: torch.cat(
            [r.T @ flat[4 * i : 4 * i + 4]
             for i, r in enumerate(cayley(p["oft_blocks"], p["alpha"] * len(w)))]
        ) - flat,
        "BOFT": lambda: butterfly(p["oft_blocks"]),
        "GLoRA": lambda: glora(p["a1"], p["a2"], p["b1"], p["b2"]),
        "GLoRA, old": lambda: glora(p["a2"], p["a1"], p["b2"], p["b1"]),
        "IA3, inputs": lambda: (w * p["weight"].reshape(of_inputs)).flatten(1),
        "IA3, outputs": lambda: flat * p["weight"].reshape(-1, 1),
        "full": lambda: p["diff"].flatten(1),
        "set": lambda: p["set_weight"].flatten(1) - flat,
    }[kind]().reshape(w.shape)  # fmt: skip


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_the_change_is_that_of_the_formula(tmp_path, kind, shape):
    found, parts = layer(tmp_path, kind, SHAPES[shape])
    w = weight(SHAPES[shape])
    before = w.clone()
    change = change_of(found, w, 1.0)
    torch.testing.assert_close(change, by_hand(kind, w, parts), rtol=1e-12, atol=1e-13)
    assert change.abs().max() > 0.01
    assert torch.equal(w, before)
    for strength in (-0.5, 0.7):
        torch.testing.assert_close(change_of(found, w, strength), strength * change)


def lycoris(kind, w, p):
    """What lycoris-lora computes of the parts; None: it has no such files."""
    from lycoris.functional import boft, diag_oft, general, locon, loha, lokr
    from lycoris.modules import glora, ia3

    s, get = 2 / loras.RANK, p.get
    if kind.startswith(("LoRA", "LoCon", "DoRA")):
        low_rank = get("lora_down.weight"), get("lora_up.weight"), get("lora_mid.weight")
        delta = locon.diff_weight(*low_rank, gamma=s, backend="torch").reshape(w.shape)
        if (length := get("dora_scale")) is None:
            return delta
        of_outputs = kind == "DoRA, outputs"
        return general.weight_decompose(w + delta, length, 1, of_outputs, backend="torch") - w
    if kind.startswith("LoHa"):
        names = "w1_b", "w1_a", "w2_b", "w2_a", "t1", "t2"
        return loha.diff_weight(*(get(f"hada_{name}") for name in names), gamma=s, backend="torch")
    if kind.startswith("LoKr"):
        names = "w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2"
        factors = [get(f"lokr_{name}") for name in names]
        s = 1 if kind == "LoKr, whole" else s
        return lokr.kron_weight(*factors, scale=s, backend="torch")
    if kind in ("OFT", "BOFT"):
        turn = diag_oft if kind == "OFT" else boft
        limit = get("alpha") and get("alpha") * len(w)
        w, blocks = w.float(), get("oft_blocks").float()
        return turn.diff_weight(w, blocks, get("rescale"), constraint=limit, backend="torch")
    if kind == "GLoRA":
        factors = [get(f"{name}.weight") for name in ("a1", "a2", "b1", "b2")]
        return glora._glora_weight(w, *factors, None, s)
    if kind.startswith("IA3"):
        each = p["weight"].reshape(-1, *[1] * (w.dim() - 2))
        return ia3._ia3_weight(w, each, kind == "IA3, inputs", 1, True)
    return None


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_the_change_is_that_of_lycoris(tmp_path, kind, shape):
    """As lycoris-lora 4.1.3 computes it. Its rotations are of float32."""
    pytest.importorskip("lycoris")
    found, parts = layer(tmp_path, kind, SHAPES[shape])
    w = weight(SHAPES[shape])
    theirs = lycoris(kind, w, parts)
    if theirs is None:
        pytest.skip("another program's")
    bound = 1e-5 if "OFT" in kind else 1e-12
    ours = change_of(found, w, 1.0)
    torch.testing.assert_close(ours, theirs.reshape(w.shape).to(ours), rtol=bound, atol=bound)


@pytest.mark.parametrize("rows", [True, False], ids=["outputs", "inputs"])
def test_the_programs_mean_other_things_by_a_strength_of_dora(rows):
    """All but ComfyUI and A1111 agree at 1; at others, each has its formula."""
    w, delta = weight((6, 5)), loras.draw(1, 6, 5, dtype=torch.float64)
    m = loras.draw(2, *((6, 1) if rows else (1, 5)), dtype=torch.float64).abs() + 1
    axis = 1 if rows else 0

    def norm(x, axis=axis):
        return (x**2).sum(axis, keepdim=True).sqrt()

    def new(program, s):
        return w + decomposed(w, delta, m, s, program)

    for s in (1.0, 0.7):
        ours = w + s * (m * (w + delta) / norm(w + delta) - w)
        base = ours if not rows else w + s * (m * (w + delta) / norm(w) - w)
        of_columns = w + s * (m * (w + delta) / norm(w + delta, 0) - w)
        partly = m * (w + s * delta) / norm(w + s * delta)
        lycoris = (w + delta) * (s * (m / norm(w + delta) - 1) + 1)
        for program, expected in (
            (None, ours), ("comfyui", base), ("a1111", of_columns), ("diffusers", partly),
            ("lycoris", lycoris),
        ):  # fmt: skip
            torch.testing.assert_close(new(program, s), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("strength", [1.0, 0.7])
def test_dora_at_a_strength_is_that_of_lycoris(strength):
    general = pytest.importorskip("lycoris.functional.general")
    w, delta = weight((16, 8, 3, 3)), loras.draw(1, 16, 8, 3, 3, dtype=torch.float64)
    for shape in ((16, 1, 1, 1), (1, 8, 1, 1)):
        m = loras.draw(2, *shape, dtype=torch.float64).abs() + 1
        theirs = general.weight_decompose(w + delta, m, strength, shape[0] == 16, backend="torch")
        torch.testing.assert_close(w + decomposed(w, delta, m, strength, "lycoris"), theirs)
