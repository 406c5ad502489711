"""What prompts in A1111's grammar ask for beside the model: <lora:...> and <hypernet:...>."""

import textwrap
from collections.abc import Sequence

from .a1111 import extract_hypernets, extract_loras


def without_networks(prompt: str) -> str:
    return extract_hypernets(extract_loras(prompt)[0])[0]


def networks_in(prompts: Sequence[str], syntax: str) -> list[str]:
    """A line for LoRAs and one for hypernetworks, if the prompts ask for some; each name once, in
    alphabetical order."""
    asking = [prompt for prompt in prompts if syntax == "a1111" and "<" in prompt]
    loras = {lora.name for prompt in asking for lora in extract_loras(prompt)[1]}
    hypernets = {name for prompt in asking for name in extract_hypernets(prompt)[1]}
    asks = {"LoRA": sorted(loras), "hypernetworks": sorted(hypernets)}
    return [
        f"the prompt asks for {kind}, which this version cannot add: "
        + textwrap.shorten(", ".join(names), 200)
        for kind, names in asks.items()
        if names
    ]
