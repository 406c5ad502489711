"""The formulas of merging, in float64, against what can be worked out by hand."""

import math

import pytest
import torch

from helpers import normal
from ldm.models.families import FAMILIES
from ldm.models.tools.blocks import blocks_of, order, weights_by_block
from ldm.models.tools.methods import (
    METHODS,
    Options,
    add_difference,
    dare,
    method_named,
    slerp,
    ties,
    trimmed,
    weighted,
)

A, B, C = (normal(5, 7, seed=seed, dtype=torch.float64) for seed in range(3))


def dice(density, seed=0):
    return Options(density, lambda: torch.Generator().manual_seed(seed))


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_weighted_sum_and_an_added_difference():
    close(weighted(A, B, 0.3), A + 0.3 * (B - A))
    close(add_difference(A, B, C, 0.3), A + 0.3 * B - 0.3 * C)
    close(add_difference(C, B, C, 1.0), B)


def test_slerp_walks_along_the_circle_at_an_even_pace():
    """A quarter turn: the angle at alpha is alpha times 90 degrees, and lengths go from one to the
    other. mergekit gives the same for these."""
    one, other = vector(3, 0), vector(0, 3)
    for alpha in (0, 0.25, 0.5, 1):
        angle = alpha * math.pi / 2
        close(slerp(one, other, alpha), 3 * vector(math.cos(angle), math.sin(angle)))


def test_slerp_of_equal_lengths_halves_the_angle():
    unit, other = A / A.norm(), B / B.norm()
    middle = slerp(unit, other, 0.5)
    close(middle.norm(), vector(1).squeeze())
    close((unit * middle).sum().acos(), (unit * other).sum().acos() / 2)


def test_slerp_is_straight_where_there_is_no_circle():
    for one, other in ((A, A * 1.001), (A, -A), (A, torch.zeros_like(A)), (A * 0, A * 0)):
        close(slerp(one, other, 0.3), weighted(one, other, 0.3))


def test_ties_trims_elects_and_takes_the_mean_of_those_that_agree():
    """By hand, as in figure 1 of the paper: two of four are kept; a tie of signs is no sign."""
    c = vector(1, 1, 1, 1, 1, 1)
    a, b = c + vector(5, -3, 0.1, 2, 0, 0), c + vector(3, 4, -0.2, -2, 0, 1)
    close(trimmed(a - c, 0.5), vector(5, -3, 0, 2, 0, 0))
    close(trimmed(b - c, 0.5), vector(3, 4, 0, -2, 0, 0))
    close(ties(a, b, c, 1.0, dice(0.5)), c + vector(4, 4, 0, 0, 0, 0))
    close(ties(a, b, c, 0.5, dice(0.5)), c + vector(2, 2, 0, 0, 0, 0))
    close(ties(a, b, c, 1.0, dice(1.0)), c + vector(4, 4, -0.2, 0, 0, 1))
    close(ties(a, b, c, 1.0, dice(0.01)), c)


def test_ties_of_the_same_change_is_that_change():
    close(ties(A, A, C, 1.0, dice(1.0)), A)
    close(ties(A, C, C, 1.0, dice(1.0)), A)


def test_dare_keeps_the_changes_on_average():
    a, b, c = (normal(200, 300, seed=seed, dtype=torch.float64) for seed in range(3))
    merged = dare(a, b, c, 0.5, dice(0.25))
    wanted = 0.5 * ((a - c) + (b - c))
    assert abs((merged - c - wanted).mean()) < 0.02
    for density in (0.1, 0.5):
        changed = dare(a, c, c, 1.0, dice(density)) - c
        kept = changed != 0
        assert abs(kept.double().mean() - density) < 0.01
        close(changed[kept], (a - c)[kept] / density)
    close(dare(a, b, c, 0.5, dice(1.0)), (a + b) / 2)  # then it is the weighted sum
    assert torch.equal(merged, dare(a, b, c, 0.5, dice(0.25)))
    assert not torch.equal(merged, dare(a, b, c, 0.5, dice(0.25, seed=1)))


def test_methods_go_by_the_web_uis_names():
    assert method_named("Weighted sum") == "weighted"
    assert method_named("add difference") == method_named("add_difference") == "add_difference"
    assert all(method_named(name) == name for name in METHODS)
    with pytest.raises(ValueError, match="choose one of weighted, add_difference, slerp"):
        method_named("sum")


@pytest.mark.parametrize(("name", "down", "up"), [("sd1", 12, 12), ("sdxl", 9, 9)])
def test_blocks_are_those_of_the_extension(name, down, up):
    family = FAMILIES[name]
    expected = [f"IN{i:02}" for i in range(down)] + ["M00"] + [f"OUT{i:02}" for i in range(up)]
    assert order(family) == expected
    blocks = blocks_of(family)
    assert blocks["unet.stem.weight"] == blocks["unet.time.linear1.bias"] == "IN00"
    assert blocks["unet.down.0.res.0.conv1.weight"] == "IN01"
    assert blocks["unet.down.0.downsample.conv.weight"] == "IN03"
    assert blocks["unet.mid.attn.norm.weight"] == "M00"
    assert blocks["unet.up.0.res.0.conv1.weight"] == "OUT00"
    assert blocks["unet.out.weight"] == blocks["unet.norm.bias"] == expected[-1]
    assert (
        blocks["vae.quant.weight"] == blocks[next(n for n in blocks if n[:4] == "text")] == "BASE"
    )
    if name == "sdxl":
        assert blocks["unet.vector.linear1.weight"] == "IN00"


def test_weights_of_blocks_are_numbers_in_order_or_names():
    sd1 = FAMILIES["sd1"]
    numbers = [i / 100 for i in range(25)]
    text = ",".join(map(str, numbers))
    found = weights_by_block(text, sd1, 0.5)
    assert found == dict(zip(["BASE", *order(sd1)], [0.5, *numbers]))
    assert weights_by_block(f"0.9, {text}", sd1, 0.5) == found | {"BASE": 0.9}
    named = weights_by_block("in03-IN05=0.25,M00=1,BASE=0", sd1, 0.5)
    changed = {"IN03": 0.25, "IN04": 0.25, "IN05": 0.25, "M00": 1.0, "BASE": 0.0}
    assert named == dict.fromkeys(["BASE", *order(sd1)], 0.5) | changed
    for wrong, message in (
        ("1,2,3", "3 numbers: sd1 has 25 blocks, IN00 to OUT11"),
        ("IN12=1", "'IN12=1' is no weight of a block: BASE, IN00 to OUT11"),
        ("M00=x", "'X' is no number"),
        (text + ",nan", "'nan' is no number from -100 to 100"),
    ):
        with pytest.raises(ValueError, match=message):
            weights_by_block(wrong, sd1, 0.5)
