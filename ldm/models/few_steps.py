"""Models that were distilled to a few steps, and have the keys and shapes of those they come from:
only a title or a name tells them, and with it how they are meant to be used.

(Full latent consistency models have a layer of their own: they are families, see `families`.)
"""

import re
from dataclasses import dataclass, replace

from .family import Family


@dataclass(frozen=True)
class FewSteps:
    """How the models of a method are used, by those who made them.

    name         of the method
    pattern      found in the titles and names of its models, whatever their case
    bases        the families that there are such models of
    steps, sampler, schedule, guidance_scale   see Family; 1 is without guidance, None the base's
    size         of pictures; None: the base's
    x0_alone     whether a model of a single step predicts the clean latent
    """

    name: str
    pattern: str
    bases: tuple[str, ...]
    steps: int
    sampler: str
    schedule: str
    guidance_scale: float | None = 1.0
    size: int | None = None
    x0_alone: bool = False

    def of(self, base: Family, steps: int | None = None) -> Family:
        """The family of such models of a base; steps: those that one was made for, if known."""
        steps, guided = self.steps if steps is None else steps, self.guidance_scale
        return replace(
            base,
            name=f"{base.name}-{self.name.lower().replace(' ', '-')}",
            steps=steps,
            guidance_scale=base.guidance_scale if guided is None else guided,
            sampler=self.sampler,
            schedule=self.schedule,
            size=base.size if self.size is None else self.size,
            prediction="x0" if self.x0_alone and steps == 1 else base.prediction,
        )


SD1, SD2, SDXL = ("sd1",), ("sd2", "sd2-v"), ("sdxl",)
FEW_STEPS = (  # the first whose pattern is found
    # Yin et al. 2024: tianweiy/DMD2, README
    FewSteps("DMD2", r"(?<![a-z])dmd2?(?![a-z0-9])", SD1 + SDXL, 4, "lcm", "dmd2"),
    # Ren et al. 2024: the page of ByteDance/Hyper-SD. Those of 8 and 12 steps with "CFG" in their
    # names keep guidance: 5 to 8, which is where the scales of the bases are.
    FewSteps(
        "Hyper-SD CFG", r"hyper[-_ ]?(sd|xl).*(?<![a-z])cfg(?![a-z])", SD1 + SDXL, 8, "ddim",
        "hyper_sd", guidance_scale=None,
    ),
    FewSteps("Hyper-SD", r"hyper[-_ ]?(sd|xl)", SD1 + SDXL, 8, "ddim", "hyper_sd"),
    # Lin et al. 2024: the page of ByteDance/SDXL-Lightning
    FewSteps("Lightning", r"lightning", SDXL, 4, "euler", "trailing", x0_alone=True),
    # Sauer et al. 2023: Stability-AI/generative-models, scripts/demo/turbo.py; the models' pages
    FewSteps(
        "Turbo", r"(?<![a-z])sd[-_ ]?(xl)?[-_ ]?turbo", SD2 + SDXL, 1, "euler_ancestral", "turbo",
        size=512,
    ),
    # merges with it: the page of DreamShaper XL Turbo
    FewSteps("Turbo merge", r"turbo", SDXL, 8, "dpmpp_sde", "karras", guidance_scale=2.0),
    # Zheng et al. 2024: jabir-zheng/TCD, README
    FewSteps("TCD", r"(?<![a-z])tcd(?![a-z])", SD1 + SD2 + SDXL, 4, "tcd", "lcm"),
    # merges with LCM-LoRA, Luo et al. 2023: the page of latent-consistency/lcm-lora-sdxl
    FewSteps("LCM", r"(?<![a-z])lcm(?![a-z])", SD1 + SDXL, 4, "lcm", "lcm"),
)  # fmt: skip
STEPS = re.compile(r"(?<!\d)(\d\d?)[-_ ]?steps?(?![a-z])", re.IGNORECASE)


def few_steps(base: Family, title: str, name: str) -> tuple[Family, str] | None:
    """The family of a model with the keys of `base` that its title, or else its file's name, tells
    to be of FEW_STEPS; and what is to be said of it. None: nothing tells it."""
    for said, where in ((title, "title"), (name, "name")):
        for row in FEW_STEPS:
            if base.name in row.bases and re.search(row.pattern, said, re.IGNORECASE):
                found = STEPS.search(said) or STEPS.search(name)
                family = row.of(base, int(found[1]) or None if found else None)
                return family, f"{family.name}, as its {where} says: {usage(family, base)}"
    return None


def usage(family: Family, base: Family) -> str:
    """How it is used where nothing else is asked for, and how to ask."""
    steps = "1 step" if family.steps == 1 else f"{family.steps} steps"
    scale = f"guidance scale {family.guidance_scale:g}"
    guided = "no guidance" if family.guidance_scale == 1 else scale
    how = f"{steps} of {family.sampler} on {family.schedule}, {guided}"
    return f"{how} (otherwise: --steps, --sampler, --schedule, --scale, or --family {base.name})"
