"""Layers that a file may have or not, because no picture needs them."""

from dataclasses import replace

from .family import Family


def without_unread_layers(family: Family) -> Family:
    """The same without the layers of its text encoders that nobody reads: SD 2 reads 23 of 24.

    diffusers' folders lack them, and so do single files made of these. What is lost is not needed
    for any picture; but OpenCLIP's own class, and programs that count clip_skip from the last of 24
    layers, want it. SDXL's pooled text is read at the last layer: nothing is left out there.
    """
    if family.conditioning[:1] in (("sizes",), ("sizes_and_score",)):
        return family
    text = (replace(one, layers=one.layers - one.layer + 1, layer=1) for one in family.text)
    return replace(family, text=tuple(text))
