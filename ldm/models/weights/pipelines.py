"""Which of diffusers' pipelines draws with a family, and what its model_index.json says besides."""

from typing import NamedTuple

from ..family import Family, Told


class Pipeline(NamedTuple):
    """name       its class
    numbers    how many numbers the U-Net is told beside the pooled text
    score      whether one of them is an aesthetic score
    scheduler  the class of the sampler that it starts with
    """

    name: str
    numbers: int = 0
    score: bool = False
    scheduler: str = "DDIMScheduler"


# By the family's conditioning. SDXL's numbers are two sizes and a corner; its refiner has an
# aesthetic score in place of the second size.
PIPELINES: dict[tuple[Told, ...], Pipeline] = {
    (): Pipeline("StableDiffusionPipeline"),
    ("inpainting",): Pipeline("StableDiffusionInpaintPipeline"),
    ("depth",): Pipeline("StableDiffusionDepth2ImgPipeline"),
    ("low_resolution",): Pipeline("StableDiffusionUpscalePipeline"),
    ("instruction",): Pipeline("StableDiffusionInstructPix2PixPipeline"),
    ("image_embedding",): Pipeline("StableUnCLIPImg2ImgPipeline"),
    ("sizes",): Pipeline("StableDiffusionXLPipeline", 6, scheduler="EulerDiscreteScheduler"),
    ("sizes", "inpainting"): Pipeline(
        "StableDiffusionXLInpaintPipeline", 6, scheduler="EulerDiscreteScheduler"
    ),
    ("sizes", "instruction"): Pipeline(
        "StableDiffusionXLInstructPix2PixPipeline", 6, scheduler="EulerDiscreteScheduler"
    ),
    ("sizes_and_score",): Pipeline(
        "StableDiffusionXLImg2ImgPipeline", 5, True, "EulerDiscreteScheduler"
    ),
}
CHANNELS: dict[int, Told] = {5: "inpainting", 1: "depth", 3: "low_resolution", 4: "instruction"}


def pipeline_of(family: Family) -> Pipeline:
    """ValueError: diffusers has none for it."""
    found = PIPELINES.get(family.conditioning)
    if found is None:
        told = " and ".join(family.conditioning)
        raise ValueError(f"diffusers has no pipeline that tells its U-Net of {told}")
    if family.unet.guidance_width is None:
        return found
    # Luo et al. 2023: the guidance scale is an input of the U-Net. SDXL's pipeline gives it, too.
    name = found.name if found.numbers else "LatentConsistencyModelPipeline"
    return found._replace(name=name, scheduler="LCMScheduler")


def conditioning_of(concat_channels: int, numbers: int, vision: bool) -> list[Told]:
    """What a U-Net of a folder is told, by its channels beside the latent and by its numbers, and
    by whether it is told what a vision tower sees.
    ValueError: no family is told so many."""
    by_numbers: dict[int, list[Told]] = {0: [], 6: ["sizes"], 5: ["sizes_and_score"]}
    if numbers not in by_numbers:
        raise ValueError(f"its U-Net is told {numbers} numbers beside the text: SDXL's 6, or 5")
    if concat_channels not in (0, *CHANNELS):
        known = ", ".join(f"{count} ({name})" for count, name in CHANNELS.items())
        raise ValueError(f"its U-Net has {concat_channels} channels beside the latent: not {known}")
    beside = [CHANNELS[concat_channels]] if concat_channels else []
    if vision:
        beside.append("image_embedding")
    return by_numbers[numbers] + beside
