"""What a program that uses the library may get wrong: one line says what was wanted."""

import numpy as np
import pytest
import torch

import ldm
from helpers import normal, random_picture
from ldm.compat.names import method_named
from ldm.images.depth import depth_map
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
        with pytest.raises(ValueError, match="give a Request, not "):
            tiny.steps(wrong)


def test_conditioning_is_not_a_tensor(tiny):
    with pytest.raises(ValueError, match="a conditioning is a Conditioning, not Tensor"):
        tiny.steps(Request("a"), conditioning=[normal(1, 12, 16)])
    told = tiny.conditioning(["a"])
    told.context[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="a context must be finite"):
        tiny.steps(Request("a"), conditioning=told)


@pytest.mark.parametrize("array", [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16))])
def test_an_array_is_told_what_makes_a_picture_of_it(tiny, array):
    picture = random_picture(16, 16)
    hint = r"^a picture must be .*, not ndarray: PIL.Image.fromarray\(array\) makes one"
    with pytest.raises(ValueError, match=hint):
        tiny.img2img("a cat", array)
    with pytest.raises(ValueError, match=hint):
        tiny.inpaint("a cat", picture, array)
    with pytest.raises(ValueError, match=hint):
        tiny.outpaint("a cat", array, left=2)
    with pytest.raises(ValueError, match=r"not ndarray: torch.from_numpy\(array\) makes one"):
        depth_map(array)


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ((torch.bfloat16,), {}),
        (("cpu", torch.bfloat16), {}),
        ((torch.bfloat16, "cpu"), {}),
        ((torch.device("cpu"),), {"dtype": torch.bfloat16}),
        ((torch.bfloat16,), {"device": "cpu"}),
        ((), {"dtype": "bfloat16"}),
        ((None, torch.bfloat16), {}),
    ],
)
def test_a_model_goes_to_a_device_and_a_number_format_in_any_order(own_tiny, where, named):
    assert own_tiny.to(*where, **named) is own_tiny
    assert (own_tiny.dtype, own_tiny.device.type) == (torch.bfloat16, "cpu")
    assert {p.dtype for p in own_tiny.text.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in own_tiny.vae.parameters()} == {torch.float32}
    assert own_tiny.to("cpu").dtype == torch.bfloat16, "as it was"


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (("gpu",), "device 'gpu' is not available"),
        ((torch.int8,), "this cpu device cannot compute in torch.int8: use torch.float32"),
    ],
)
def test_a_model_goes_nowhere_else(own_tiny, where, what):
    with pytest.raises(ValueError, match=what):
        own_tiny.to(*where)
    with pytest.raises(ValueError, match="dtype 'float17' is none: give float32, float16"):
        own_tiny.to(dtype="float17")
    assert own_tiny.dtype == torch.float32


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


@pytest.mark.parametrize("name", ["fast", "ema"])
@pytest.mark.parametrize("wrong", ["no", 0, 1.0, [], np.array([1, 2])])
def test_load_takes_no_other_value_for_a_yes_or_no(name, wrong):
    with pytest.raises(ValueError, match=f"^{name} must be True or False, not "):
        ldm.load(device="cpu", **{name: wrong})


def test_what_starts_from_a_picture_is_given_one(tiny):
    picture = random_picture(16, 16)
    for draw, what in (
        (lambda: tiny.img2img("a cat", None), "give a picture to start from; txt2img draws from"),
        (lambda: tiny.inpaint("a cat", None, picture), "give a picture to inpaint, not None"),
        (lambda: tiny.inpaint("a cat", picture, None), "give a mask, white where"),
        (lambda: tiny.outpaint("a cat", None, left=4), "give a picture to continue, not None"),
        (lambda: tiny.outpaint("a cat", picture), "say where to go on, in pixels: left, right"),
        (lambda: tiny.generate("a cat"), r"give a Request, not str: Request\('a cat'\)"),
    ):
        with pytest.raises(ValueError, match=what):
            draw()


@pytest.mark.parametrize("batch", [0, -1, "2", 1.5, float("nan")])
def test_a_batch_is_a_count(tiny, batch):
    with pytest.raises(ValueError, match="batch must be a whole number of at least 1, not"):
        tiny.txt2img("a cat", batch=batch)
