"""From a prompt to a picture, out of the parts.

python examples/minimal.py
"""

import math

import torch

from ldm.clip.tokenizer import Tokenizer
from ldm.conditioning import Conditioning
from ldm.images.saving import to_pil
from ldm.models.weights import read
from ldm.pipeline import built_in
from ldm.samplers import SAMPLERS, Guided, ModelDenoiser, Noise, cfg

PROMPT = "a large red heart to the left of a small blue star, on a yellow background"

with torch.no_grad():
    model = read(built_in())
    family, (text,) = model.family, model.text
    tokenizer = Tokenizer(model.merges, family.text[0].length)

    # what to draw away from, and what to draw: (1, L, D) each, after the final norm
    negative, positive = text(tokenizer(["", PROMPT])).last.split(1)
    schedule = family.noise_schedule()  # t <-> sigma
    denoiser = ModelDenoiser(model.unet, schedule, family.prediction)  # D(x, sigma, conditioning)
    branches = [Conditioning(negative), Conditioning(positive)]
    guided = Guided(denoiser, branches, cfg(family.guidance_scale))  # D(x, sigma)

    sampler, noise = SAMPLERS[family.sampler], Noise(seeds=[42])  # a seed for each picture
    sigmas = sampler.sigmas(schedule, family.steps, family.schedule)  # from most noise to none
    x = math.sqrt(1 + sigmas[0] ** 2) * noise(torch.empty(1, 4, 16, 16))  # (B, Z, h, w)
    for step in sampler.run(guided, x, sigmas, noise):
        print(f"step {step.index + 1}: sigma {step.sigma:.3f}")

    pictures = model.vae.decode(step.x)  # (B, 3, H, W) in [-1, 1]
    to_pil(pictures)[0].save("minimal.png")
