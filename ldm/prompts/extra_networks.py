"""What prompts in A1111's grammar ask for beside the model: <lora:...> and <hypernet:...>."""

import re
import textwrap

from ..request import Request
from .a1111 import Lora, extract_hypernets, extract_loras
from .editing import prompt_schedule

TAG = re.compile(r"<(?:lora|lyco):[^<>]+>")
FIRST = 0xF0000  # of the private letters that stand for tags while a prompt is divided


def without_networks(prompt: str) -> str:
    return extract_hypernets(extract_loras(prompt)[0])[0]


def lora_schedule(prompt: str, changes: int, earlier: int = 0) -> list[tuple[int, list[Lora]]]:
    """Which LoRAs a prompt asks for until which moment, as `prompt_schedule` has the texts: so
    [<lora:fur:1>::0.5] is for the first half of the steps.

    >>> lora_schedule("a cat <lora:ink:.5>, [<lora:fur:1>::0.3]", 10)[0]
    (3, [Lora(name='ink', text=0.5, unet=0.5), Lora(name='fur', text=1.0, unet=1.0)])
    >>> lora_schedule("a cat <lora:ink:.5>, [<lora:fur:1>::0.3]", 10)[1:]
    [(10, [Lora(name='ink', text=0.5, unet=0.5)])]
    """
    tags: list[str] = TAG.findall(prompt)
    letters = iter(range(FIRST, FIRST + len(tags)))
    text = TAG.sub(lambda _: chr(next(letters)), prompt)
    found: list[tuple[int, list[Lora]]] = []
    for last, read in prompt_schedule(text, changes, earlier):
        asked = [tags[ord(x) - FIRST] for x in read if FIRST <= ord(x) < FIRST + len(tags)]
        found.append((last, extract_loras("".join(asked))[1]))
    return found


def networks_in(request: Request) -> list[str]:
    """A line for LoRAs and one for hypernetworks, if the prompts ask for some that there are not;
    each name once, in alphabetical order."""
    read = request.prompt_syntax == "a1111"
    asking = [prompt for prompt in request.prompts if read and "<" in prompt]
    loras = {lora.name for prompt in asking for lora in extract_loras(prompt)[1]}
    loras = loras if request.lora_dir is None else set()
    hypernets = {name for prompt in asking for name in extract_hypernets(prompt)[1]}
    asks = {
        "LoRAs, and there is no --lora_dir to take them from: ": sorted(loras),
        "hypernetworks, which are given by --hypernetwork FILE alone: ": sorted(hypernets),
    }
    return [
        f"the prompt asks for {what}{textwrap.shorten(', '.join(names), 200)}"
        for what, names in asks.items()
        if names
    ]
