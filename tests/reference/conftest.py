"""Two implementations with the same random weights."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from ldm.models.keymaps import Row
from ldm.models.weights import save


def share(ours: nn.Module, theirs: nn.Module, rows: Iterable[Row], dtype: torch.dtype) -> None:
    """Give two modules on the `meta` device the same random parameters, those of diffusers' in
    memory of ours.

    The weights keep the size of what goes through them: with smaller ones, as layers start with,
    every branch beside a skip would be too quiet for a mistake in it to be heard. No bias is 0, and
    no norm's weight 1.
    """
    generator = torch.Generator().manual_seed(0)
    names = {
        f"{row.ours}.{kind}": f"{row.diffusers[0]}.{kind}"
        for row in rows
        for kind in (("weight", "bias") if row.bias else ("weight",))
    }
    state = {}
    for name, parameter in ours.named_parameters():
        state[name] = torch.empty_like(parameter, dtype=dtype, device="cpu")
        if parameter.ndim > 1:
            state[name].normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        else:
            state[name].normal_(
                float("norm" in name and name.endswith("weight")), 0.1, generator=generator
            )
    ours.load_state_dict(state, assign=True)
    theirs.load_state_dict({names[name]: tensor for name, tensor in state.items()}, assign=True)
    for module in (ours, theirs):
        module.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def share_weights() -> Callable[[nn.Module, nn.Module, Iterable[Row], torch.dtype], None]:
    return share


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_checkpoint, tmp_path_factory):
    """Of a padding token's id, or None, transformers' tokenizer for the tiny models."""
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("tiny") / "diffusers"
    save(folder, tiny_checkpoint, "diffusers")
    return lambda pad: CLIPTokenizer.from_pretrained(
        folder / "tokenizer", pad_token="<|endoftext|>" if pad is None else "!"
    )
