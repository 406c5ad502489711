"""Networks that give NaN, infinity or black pictures: the error names the layer and the step."""

import math

import pytest
import torch

from ldm.runtime.finite import NotFinite


def test_a_broken_layer_is_named_with_its_step(own_tiny):
    calls = []

    def poison(module, inputs, output):
        calls.append(1)
        return output * math.nan if len(calls) > 2 else output

    own_tiny.unet.mid.res1.conv2.register_forward_hook(poison)
    with pytest.raises(
        NotFinite, match=r"step 3 of 4: unet\.mid\.res1\.conv2 gives NaN or infinity"
    ):
        own_tiny.txt2img("a cat")


@pytest.mark.parametrize("part", ["text", "vae"])
def test_broken_weights_are_named(own_tiny, part):
    weight = {
        "text": own_tiny.text.layers[0].attn.k.bias,
        "vae": own_tiny.vae.decoder.mid.attn.q.weight,
    }[part]
    with torch.no_grad():
        weight.view(-1)[3] = math.inf
    where = {
        "text": r"reading the prompt: text\.layers\.0\.attn\.k",
        "vae": r"decoding .*vae\.decoder\.mid\.attn\.q",
    }
    with pytest.raises(NotFinite, match=where[part]):
        own_tiny.txt2img("a cat")


def test_overflow_in_half_precision_says_what_to_do(own_tiny):
    own_tiny.to(dtype=torch.bfloat16)
    with torch.no_grad():
        own_tiny.unet.out.weight.fill_(1e38)
    with pytest.raises(NotFinite, match=r"step 1 of 4: unet\.out .*try --dtype float32"):
        own_tiny.txt2img("a cat")


def test_a_black_picture_is_an_error(own_tiny):
    with torch.no_grad():
        own_tiny.vae.decoder.out.weight.zero_()
        own_tiny.vae.decoder.out.bias.fill_(-1.5)
    with pytest.raises(NotFinite, match="black all over"):
        own_tiny.txt2img("a cat")
