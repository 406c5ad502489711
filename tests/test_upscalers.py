"""The networks that make pictures larger, against their formulas written anew, in each way their
files are named."""

import pytest
import torch
import torch.nn.functional as F

from ldm.models.upscalers import open_upscaler
from upscaler_files import BLOCKS, X, by_names, by_numbers, compact, esrgan, opened


def conv(state, name, x):
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def esrgan_formula(state, x, fold=1, ups=2):
    """In float64: fig. 4 of the paper, a factor of 0.2 on each residual."""
    state = {name: one.double() for name, one in state.items()}

    def lrelu(x):
        return F.leaky_relu(x, 0.2)

    b, c, h, w = x.shape
    x = x.reshape(b, c, h // fold, fold, w // fold, fold).permute(0, 1, 3, 5, 2, 4)
    first = conv(state, "conv_first", x.reshape(b, c * fold**2, h // fold, w // fold))
    trunk = first
    for i in range(BLOCKS):
        outer = trunk
        for j in (1, 2, 3):
            inner, seen = trunk, [trunk]
            for k in range(1, 5):
                seen.append(lrelu(conv(state, f"body.{i}.rdb{j}.conv{k}", torch.cat(seen, 1))))
            trunk = inner + 0.2 * conv(state, f"body.{i}.rdb{j}.conv5", torch.cat(seen, 1))
        trunk = outer + 0.2 * trunk
    h = first + conv(state, "conv_body", trunk)
    for i in range(ups):
        h = lrelu(conv(state, f"conv_up{i + 1}", h.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return conv(state, "conv_last", lrelu(conv(state, "conv_hr", h)))


@pytest.mark.parametrize("names", [dict, by_names, by_numbers])
def test_an_rrdbnet_is_its_formula_in_each_way_of_naming(names, tmp_path):
    state = esrgan()
    network = opened(names(state), tmp_path).network.double()
    x = (X.double() + 1) / 2
    torch.testing.assert_close(network(x), esrgan_formula(state, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("fold", "ups", "scale"), [(2, 2, 2), (4, 2, 1), (1, 1, 2), (1, 0, 1)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_factors(fold, ups, scale, suffix, tmp_path):
    state = esrgan(fold, ups)
    named = by_numbers(state, ups) if fold == 1 else state
    upscaler = opened(named, tmp_path, suffix=suffix)
    assert (upscaler.scale, upscaler.fold, upscaler.name) == (scale, fold, "4x_sharp")
    expected = esrgan_formula(state, (X.double() + 1) / 2, fold, ups).clamp(0, 1) * 2 - 1
    torch.testing.assert_close(upscaler(X), expected.float(), rtol=1e-5, atol=1e-5)


def test_a_picture_that_cannot_be_folded_is_continued_at_its_edges(tmp_path):
    state = esrgan(fold=4)
    upscaler = opened(state, tmp_path)
    odd = X[:, :, :7, :9]
    padded = F.pad(odd, (0, 3, 0, 1), mode="replicate")
    torch.testing.assert_close(upscaler(odd), upscaler(padded)[:, :, :7, :9])


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("root", [None, "params", "params_ema"])
def test_a_compact_network_is_its_formula(scale, root, tmp_path):
    state = compact(scale)
    network = opened(state, tmp_path, root).network.double()
    x, double = (X.double() + 1) / 2, {name: one.double() for name, one in state.items()}
    h = x
    for i in range(3):
        h = conv(double, f"body.{2 * i}", h)
        h = torch.where(h > 0, h, double[f"body.{2 * i + 1}.weight"][:, None, None] * h)
    h = conv(double, "body.6", h)
    b, _, high, wide = h.shape
    h = h.reshape(b, 3, scale, scale, high, wide).permute(0, 1, 4, 2, 5, 3)
    large = h.reshape(b, 3, high * scale, wide * scale)
    nearest = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    torch.testing.assert_close(network(x), nearest + large, rtol=1e-10, atol=1e-10)


def test_of_two_sets_of_parameters_the_averages_are_taken(tmp_path):
    path = tmp_path / "x.pth"
    other = {name: tensor + 1 for name, tensor in compact().items()}
    torch.save({"params": other, "params_ema": compact()}, path)
    assert torch.equal(open_upscaler(path)(X), opened(compact(), tmp_path)(X))
