"""What a program that uses the library may get wrong: one line says what was wanted."""

import pytest
import torch

import ldm
from helpers import normal, random_picture
from ldm.compat.names import method_named
from ldm.images.files import to_tensor
from ldm.request import Request


@pytest.mark.parametrize(
    ("latents", "what"),
    [
        (torch.zeros(0, 4, 8, 8), r"must be a tensor n x 4 x n x n, not \(0, 4, 8, 8\)"),
        (torch.zeros(4, 8, 8), r"must be a tensor n x 4 x n x n, not \(4, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8), "must be a tensor n x 4"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.uint8), "floating-point numbers, not torch.uint8"),
        (torch.full((1, 4, 8, 8), torch.nan), "these have NaN or infinity"),
        ("latents", "not str"),
        (None, "not NoneType"),
        ([[1.0]], "not list"),
    ],
)
def test_latents_that_cannot_be_decoded(tiny, latents, what):
    with pytest.raises(ValueError, match=what):
        tiny.decode(latents)
    if latents is not None:
        with pytest.raises(ValueError, match=r"latents must be"):
            tiny.steps(Request("a cat"), latents=latents)


@pytest.mark.parametrize(
    ("images", "what"),
    [
        (torch.zeros(3, 16, 16), r"images must be a tensor n x 3 x n x n, not \(3, 16, 16\)"),
        (torch.zeros(1, 4, 16, 16), "n x 3"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "not torch.uint8"),
        (torch.full((1, 3, 16, 16), torch.inf), "NaN or infinity"),
        (torch.zeros(1, 3, 17, 16), "an image of 16 x 17: give sides that are multiples of 2"),
        ("a.png", "not str"),
    ],
)
def test_images_that_cannot_be_encoded(tiny, images, what):
    with pytest.raises(ValueError, match=what):
        tiny.encode(images)


def test_a_picture_of_pil_is_encoded(tiny):
    picture = random_picture(16, 16)
    assert torch.equal(tiny.encode(picture), tiny.encode(to_tensor(picture)))


def test_steps_are_of_a_request(tiny):
    for wrong in ("text", None, {"prompt": "a"}):
        with pytest.raises(ValueError, match="steps of a Request, not of"):
            tiny.steps(wrong)


def test_conditioning_is_not_a_tensor(tiny):
    with pytest.raises(ValueError, match="a conditioning is a Conditioning, not Tensor"):
        tiny.steps(Request("a"), conditioning=[normal(1, 12, 16)])
    told = tiny.conditioning(["a"])
    told.context[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="a context must be finite"):
        tiny.steps(Request("a"), conditioning=told)


def test_a_number_format_by_its_name():
    assert ldm.load(device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    for wrong in ("float17", "nn", 16):
        with pytest.raises(ValueError, match="is none: give float32, float16 or bfloat16"):
            ldm.load(device="cpu", dtype=wrong)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("k_euler", ("euler", None)),
        ("k_euler_a", ("euler_ancestral", None)),
        ("k_euler_ancestral", ("euler_ancestral", None)),
        ("k_dpmpp_2s_a", ("dpmpp_2s_ancestral", None)),
        ("k_dpm_2_a", ("dpm2_ancestral", None)),
        ("k_lms", ("lms", None)),
        ("dpmpp_2m_karras", ("dpmpp_2m", "karras")),
        ("k_dpmpp_2m_ka", ("dpmpp_2m", "karras")),
        ("euler_a_exponential", ("euler_ancestral", "exponential")),
        ("dpmpp_2m_sde", ("dpmpp_2m_sde", None)),
        ("euler_b", (None, None)),
    ],
)
def test_names_that_other_programs_have_for_samplers(tiny, name, found):
    assert method_named(name) == found
    if found[0]:
        assert tiny.resolve(Request(sampler=name)).request.sampler == found[0]
