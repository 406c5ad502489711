"""What SDXL is told: the pooled text, sizes, an empty negative; and the refiner."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from helpers import PICTURE, differ, first_call, latents, network_calls, normal, request_in
from ldm.cli import main
from ldm.conditioning import Conditioning
from ldm.images.masks import to_mask
from ldm.metadata import read_metadata
from ldm.pipeline.pause import pause, read_paused, save_paused
from ldm.prompts.chunks import chunks
from ldm.request import Request
from ldm.unet.blocks import timestep_embedding
from small_families import REFINER, SDXL, build

LONG = "a cat, a dog, a cat and a dog at night"  # more than one chunk
POOLED = SDXL.text[1].projection


@pytest.fixture(scope="module")
def sdxl():
    return build(SDXL)


@pytest.fixture(scope="module")
def refiner():
    return build(REFINER, seed=1)


def told(model, image=None, **options):
    """The vector of the first call, by its rows: the pooled text, and the numbers as they are
    embedded."""
    options = {"prompt": "a cat", "steps": 2, "seed": 3} | options
    vector = first_call(model, Request(**options), image).conditioning.vector
    return vector[:, :POOLED], vector[:, POOLED:]


def numbers(*given, each=8):
    return timestep_embedding(torch.tensor(given), each).flatten()


# the pooled text


def test_the_pooled_text_is_the_last_towers_of_the_first_chunk(sdxl):
    tokenizer, encoder = sdxl.towers[1]
    (first, *others) = chunks(tokenizer, LONG)
    assert others
    pooled = encoder(torch.tensor([tokenizer.row([token for token, _ in first])])).pooled
    found = sdxl.conditioning([LONG, "a cat"])
    torch.testing.assert_close(found.vector[:1], pooled)
    assert found.context.shape == (2, found.context.shape[1], 16 + 24)


@pytest.mark.parametrize("syntax", ["a1111", "comfyui"])
def test_emphasis_and_clip_skip_leave_the_pooled_text_alone(sdxl, syntax):
    plain = sdxl.conditioning(["a cat"], syntax)
    heavy = sdxl.conditioning(["a (cat:1.4)"], syntax)
    skipped = sdxl.conditioning(["a cat"], syntax, clip_skip=3)
    for other in (heavy, skipped):
        assert differ(other.context, plain.context)
        torch.testing.assert_close(other.vector, plain.vector)


def test_clip_skip_begins_at_the_towers_own_layer(sdxl):
    own = sdxl.conditioning(["a cat"]).context
    for skip in (1, 2):
        assert sdxl.conditioning(["a cat"], clip_skip=skip).context.equal(own)


def test_prompts_joined_and_changing_have_their_own_pooled_texts(sdxl):
    request = Request("a cat AND [dog:cat:1]", negative="do", steps=2, seed=3)
    with network_calls(sdxl) as calls:
        latents(sdxl, request)
    texts = [["do", "a cat", "dog"], ["do", "a cat", "cat"]]
    for call, read in zip(calls, texts, strict=True):
        vectors = [sdxl.conditioning([text]).vector for text in read]
        torch.testing.assert_close(call.conditioning.vector[:, :POOLED], torch.cat(vectors))


def test_a_picture_does_not_depend_on_its_batch(sdxl):
    prompts = ("a cat", LONG, "a cat AND do")
    together = latents(sdxl, Request(prompts, negative=("", "do", ""), seed=3, steps=2))
    for i, (prompt, negative) in enumerate(zip(prompts, ("", "do", ""))):
        alone = latents(sdxl, Request(prompt, negative=negative, seed=3 + i, steps=2))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-4)


# sizes


def test_the_sizes_are_the_pictures_own_and_nothing_is_cut(sdxl):
    _, found = told(sdxl, width=24, height=16)
    torch.testing.assert_close(found, numbers(16, 24, 0, 0, 16, 24).expand(2, -1))


def test_sizes_that_are_asked_for(sdxl):
    sizes = {"original_size": (70, 40), "crop": (9, 3), "target_size": (50, 32)}
    _, found = told(sdxl, width=24, height=16, **sizes)
    torch.testing.assert_close(found, numbers(40, 70, 3, 9, 32, 50).expand(2, -1))


def test_the_second_pass_is_told_its_own_size(sdxl):
    with network_calls(sdxl) as calls:
        latents(sdxl, Request("a cat", width=16, height=16, steps=2, hires=2, hires_strength=0.5))
    first, last = (calls[i].conditioning.vector[0, POOLED:] for i in (0, -1))
    torch.testing.assert_close(first, numbers(16, 16, 0, 0, 16, 16))
    torch.testing.assert_close(last, numbers(32, 32, 0, 0, 32, 32))


def test_a_tile_is_told_its_own_size(sdxl):
    with network_calls(sdxl) as calls:
        latents(sdxl, Request("a cat", width=48, height=16, steps=1, tile=32))
    assert {call.x.shape[-2:] for call in calls} == {(8, 16)}
    torch.testing.assert_close(
        calls[0].conditioning.vector[0, POOLED:], numbers(16, 32, 0, 0, 16, 32)
    )


def test_from_a_picture_and_within_a_mask(sdxl):
    """Sizes that the U-Net's levels halve."""
    for options in ({}, {"mask": to_mask(PICTURE)}):
        request = Request("a cat", strength=0.5, steps=2)
        job = sdxl.resolve(request, PICTURE, **options)
        with network_calls(sdxl) as calls:
            latents(sdxl, job)
        width, height = job.passes[0].width, job.passes[0].height
        found = calls[0].conditioning.vector[0, POOLED:]
        torch.testing.assert_close(found, numbers(height, width, 0, 0, height, width))


def test_the_refiner_is_told_scores(refiner):
    _, found = told(refiner, width=24, height=16)
    expected = [numbers(16, 24, 0, 0, score) for score in (2.5, 6.0)]
    torch.testing.assert_close(found, torch.stack(expected))
    _, found = told(refiner, width=24, height=16, guidance_scale=1, aesthetic_score=(7, 1))
    torch.testing.assert_close(found, numbers(16, 24, 0, 0, 7)[None])


def test_what_a_model_is_not_told_is_refused(tiny, sdxl):
    for model, options in ((tiny, {"original_size": (8, 8)}), (sdxl, {"aesthetic_score": (6, 2)})):
        (name,) = options
        with pytest.raises(
            ValueError, match=f"{name} is for .* not for {model.family.name}: leave it"
        ):
            model.resolve(Request("a cat", **options))


# an empty negative


@pytest.mark.parametrize(
    ("family", "compat", "zeros"),
    [
        ("sdxl", None, True),
        ("sdxl", "a1111", True),
        ("sdxl", "diffusers", True),
        ("sdxl", "comfyui", False),
        ("refiner", None, False),
        ("refiner", "a1111", True),
        ("refiner", "diffusers", False),
        ("refiner", "comfyui", False),
    ],
)
def test_an_empty_negative(request, family, compat, zeros):
    model = request.getfixturevalue(family)
    asked = Request(("a cat", "a cat", "a cat"), negative=("", " ", "do"), compat=compat, steps=2)
    cond = first_call(model, asked).conditioning
    for part, encoded in zip(("context", "vector"), (cond.context, cond.vector[:, :POOLED])):
        read = getattr(model.conditioning(["", "do"]), part)
        expected = torch.zeros_like(read[0]) if zeros else read[0]
        torch.testing.assert_close(encoded[:3], torch.stack([expected, read[0], read[1]]))
        assert encoded[3:].abs().sum() > 0


# conditioning instead of prompts


def test_a_conditioning_is_completed(sdxl):
    request = Request("do", negative="a cat", seed=3, steps=2)
    drawn = latents(sdxl, request)
    parts = [sdxl.conditioning([text]) for text in ("a cat", "do")]
    torch.testing.assert_close(latents(sdxl, request, conditioning=parts), drawn)
    empty = sdxl.conditioning([""])
    call = first_call(sdxl, Request(steps=2), conditioning=[empty, parts[0]])
    torch.testing.assert_close(call.conditioning.context[:1], empty.context)


def test_a_whole_vector_stays_and_none_is_refused(sdxl):
    vector = normal(1, SDXL.unet.vector_width)
    cond = Conditioning(sdxl.conditioning(["do"]).context, vector)
    call = first_call(sdxl, Request(steps=2, guidance_scale=1), conditioning=cond)
    assert call.conditioning.vector.equal(vector)
    with pytest.raises(ValueError, match=r"told more than a context: model\.conditioning"):
        latents(sdxl, Request(steps=2), conditioning=Conditioning(cond.context))


# the refiner


def counts(model, other, **options):
    """How many calls of each of the two there are."""
    with network_calls(model) as base, network_calls(other) as its:
        last = latents(model, Request("a cat", negative="do", seed=3, **options))
    return len(base), len(its), last


@pytest.mark.parametrize(
    ("start", "calls"), [(0, (0, 10)), (0.45, (5, 5)), (0.8, (8, 2)), (1, (10, 0))]
)
def test_the_refiner_takes_over_where_that_part_of_training_is_done(sdxl, refiner, start, calls):
    sdxl.refiners["other"] = refiner
    options = {"steps": 10, "schedule": "trailing", "refiner": "other", "refiner_start": start}
    *found, last = counts(sdxl, refiner, **options)
    assert tuple(found) == calls
    plain = latents(sdxl, Request("a cat", negative="do", seed=3, steps=10, schedule="trailing"))
    assert differ(last, plain) == (start < 1)


def test_with_hires_the_last_pass_is_refined(sdxl, refiner):
    sdxl.refiners["other"] = refiner
    options = {"steps": 4, "hires": 2, "hires_strength": 0.5, "refiner": "other"}
    base, its, _ = counts(sdxl, refiner, schedule="trailing", refiner_start=0.6, **options)
    assert (base, its) == (4 + 1, 1)


def test_pictures_with_a_refiner_know_of_it(sdxl, refiner, tmp_path):
    (image,) = sdxl.txt2img("a cat", steps=3, refiner=refiner, refiner_start=0.5)
    path = tmp_path / "one.png"
    image.save(path)
    assert "Refiner: tiny-refiner, Refiner switch at: 0.5" in image.info["parameters"]
    kept = request_in(path)
    assert (kept.refiner, kept.refiner_start) == ("tiny-refiner", 0.5)
    (again,) = sdxl.generate(kept)
    assert again == image
    assert image != sdxl.txt2img("a cat", steps=3)[0]


def test_the_web_uis_text_of_a_refiner_is_read(tmp_path):
    info = PngInfo()
    info.add_text(
        "parameters",
        "a cat\nSteps: 9, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x64, "
        "Refiner: sd_xl_refiner_1.0 [7440042bbd], Refiner switch at: 0.7, Version: v1.10.1",
    )
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png", pnginfo=info)
    found = read_metadata(tmp_path / "one.png")
    assert (found.request.refiner, found.request.refiner_start) == ("sd_xl_refiner_1.0", 0.7)
    assert not [name for name in found.unsupported if "Refiner" in name]


def test_a_command_names_a_refiner_and_a_replay_wants_it_again(sdxl, refiner, tmp_path, capsys):
    for model in (sdxl, refiner):
        model.save(tmp_path / f"{model.name}.safetensors")
    ckpt, other = (str(tmp_path / f"{model.name}.safetensors") for model in (sdxl, refiner))
    drawing = ["txt2img", "--prompt", "a cat", "--steps", "3", "--n_iter", "1", "--n_samples", "1"]
    drawing += ["--crop", "3", "5", "--outdir", str(tmp_path), "--ckpt", ckpt]
    assert main([*drawing, "--refiner", other, "--refiner_start", "0.5"]) == 0
    (path,) = (tmp_path / "samples").iterdir()
    assert (request_in(path).refiner, request_in(path).crop) == (other, (3, 5))
    again = ["replay", str(path), "--outdir", str(tmp_path / "again"), "--ckpt", ckpt]
    capsys.readouterr()
    assert main(again) == 2
    assert "give --refiner" in capsys.readouterr().err
    assert main([*again, "--refiner", other]) == 0
    (copy,) = (tmp_path / "again").rglob("*.png")
    with Image.open(path) as one, Image.open(copy) as two:
        assert one.tobytes() == two.tobytes()


def test_a_refiner_of_other_latents_is_refused(sdxl, tiny):
    sdxl.refiners["tiny"] = tiny
    with pytest.raises(ValueError, match="tiny cannot go on with the latents of tiny-sdxl"):
        sdxl.resolve(Request(refiner="tiny"))
    with pytest.raises(ValueError, match="leave out conditioning, or refiner"):
        sdxl.resolve(Request(refiner="tiny"), conditioning=sdxl.conditioning(["a"]))


def test_a_refiner_goes_on_after_a_pause(sdxl, refiner, tmp_path):
    sdxl.refiners["other"] = refiner
    request = Request("a cat", seed=3, steps=6, refiner="other", refiner_start=0.5)
    save_paused(tmp_path / "half.safetensors", pause(sdxl, sdxl.resolve(request), 4))
    with pytest.raises(ValueError, match="it names 'other': give --refiner"):
        read_paused(tmp_path / "half.safetensors")
    paused = read_paused(tmp_path / "half.safetensors", refiner="other")
    resumed = latents(sdxl, paused.request, record=paused.record)
    torch.testing.assert_close(resumed, latents(sdxl, request), rtol=0, atol=0)


# noise that ends in no signal


def test_a_family_of_zero_snr_has_such_noise_unasked():
    model = build(replace(SDXL, prediction="v", zero_snr=True))
    job = model.resolve(Request("a cat", schedule="trailing", steps=5))
    assert job.passes[0].sigmas[0] == pytest.approx(4518.8, abs=0.1)
    assert all(a > b for a, b in pairwise(job.passes[0].sigmas))
    assert latents(model, job).isfinite().all()
    plain = build(replace(SDXL, prediction="v"))
    assert plain.resolve(Request(steps=5, schedule="trailing")).passes[0].sigmas[0] < 15
    asked = Request(steps=5, schedule="trailing", zero_snr=True)
    assert plain.resolve(asked).passes[0].sigmas == job.passes[0].sigmas
