import doctest
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

import ldm.runtime.tiles
from ldm.layers import GroupNorm
from ldm.runtime.tiles import in_tiles, ramps, spans
from ldm.samplers.wrappers import tiled
from ldm.vae.tiled import statistics_from, tiled_decode, tiled_encode


def test_doctests():
    assert doctest.testmod(ldm.runtime.tiles).failed == 0


@pytest.mark.parametrize("length", range(1, 40))
@pytest.mark.parametrize(("tile", "overlap"), [(8, 0), (8, 2), (8, 7), (5, 1)])
def test_tiles_cover_a_side_and_overlap(length, tile, overlap):
    found = spans(length, tile, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(end - start == min(tile, length) for start, end in found)
    assert all(end - start >= overlap for (_, end), (start, _) in pairwise(found))


def test_tiles_begin_at_whole_pixels_of_a_smaller_result():
    assert all(
        start % 4 == 0 for length in range(16, 90, 4) for start, _ in spans(length, 16, 4, 1 / 4)
    )


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (23, 8), (30, 41)])
@pytest.mark.parametrize(("tile", "overlap"), [(8, 0), (8, 3), (9, 8)])
def test_what_is_done_to_each_pixel_is_done_the_same_in_tiles(size, tile, overlap):
    x = torch.randn(3, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(in_tiles(torch.sin, x, tile, overlap), x.sin())


def test_results_of_another_size():
    x = torch.rand(2, 3, 24, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    twice = in_tiles(lambda part: F.interpolate(part, scale_factor=2.0), x, 16, 4, 2)
    torch.testing.assert_close(twice, F.interpolate(x, scale_factor=2.0))
    quarter = in_tiles(lambda part: F.avg_pool2d(part, 4), x, 16, 4, 1 / 4)
    torch.testing.assert_close(quarter, F.avg_pool2d(x, 4))


def test_where_tiles_disagree_one_fades_into_the_other():
    tiles = iter([torch.zeros(1, 1, 1, 8), torch.ones(1, 1, 1, 8)])
    row = in_tiles(lambda part: next(tiles), torch.zeros(1, 1, 1, 12), 8, 4).flatten()
    torch.testing.assert_close(
        row, torch.tensor([0, 0, 0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1, 1, 1])
    )
    assert ramps(8, 0).eq(1).all()


def test_no_tile_is_larger_than_was_said():
    seen = []
    in_tiles(lambda part: seen.append(part.shape) or part, torch.zeros(1, 1, 50, 20), 16, 4)
    assert {tuple(shape) for shape in seen} == {(1, 1, 16, 16)}


def test_overlap_must_be_less_than_a_tile():
    with pytest.raises(ValueError, match="tiles of 8 cannot overlap by 8"):
        in_tiles(torch.sin, torch.zeros(1, 1, 20, 20), 8, 8)


def texture(height, width):
    """A picture that is alike everywhere, so that the statistics of a tile are those of the
    whole."""
    return F.avg_pool2d(
        torch.randn(1, 3, height + 2, width + 2, generator=torch.Generator().manual_seed(0)), 3, 1
    )


def psnr(one, other):
    """In decibels, for pictures in [-1, 1] or maps of a spread of about 2."""
    return float(10 * torch.log10(4 / (one - other).square().mean()))


@pytest.mark.parametrize("part", ["encode", "decode"])
@torch.inference_mode()
def test_the_vae_in_tiles_is_close_to_the_whole(tiny, part):
    """Closer than by tiles that know nothing of each other. Trained weights are closer still: 36 dB
    in tiles of 64, 42 in tiles of 128 for pictures that differ from tile to tile."""
    picture = torch.cat([0.3 * texture(64, 48) - 0.5, texture(64, 48) + 0.5], dim=3)
    latents = tiny.vae.encode(picture)
    if part == "encode":
        whole, own = latents, in_tiles(tiny.vae.encode, picture, 32, 16, 1 / 2)
        tiles = tiled_encode(tiny.vae, picture, 32, 16)
    else:
        whole, own = tiny.vae.decode(latents), in_tiles(tiny.vae.decode, latents, 16, 8, 2)
        tiles = tiled_decode(tiny.vae, latents, 32, 16)
    assert tiles.shape == whole.shape
    assert psnr(tiles, whole) > max(20, psnr(own, whole))
    assert all(norm.shared is None for norm in tiny.vae.modules() if isinstance(norm, GroupNorm))


@torch.inference_mode()
def test_shared_statistics_are_those_of_what_was_run(tiny):
    """Two pictures one above the other, of other contrast: normalised by the whole, not each by
    itself."""
    x = torch.cat([texture(16, 16), 3 + 4 * texture(16, 16)], dim=2)
    norm = GroupNorm(1, 3, 1e-5)
    with statistics_from(norm, lambda: norm(x)):
        halves = torch.cat([norm(x[:, :, :16]), norm(x[:, :, 16:])], dim=2)
    torch.testing.assert_close(halves, norm(x))
    assert norm.shared is None
    assert not torch.allclose(torch.cat([norm(x[:, :, :16]), norm(x[:, :, 16:])], dim=2), norm(x))


@torch.inference_mode()
def test_a_picture_no_larger_than_a_tile_is_decoded_as_it_is(tiny):
    latents = tiny.vae.encode(texture(24, 32))
    assert torch.equal(tiled_decode(tiny.vae, latents, 32, 16), tiny.vae.decode(latents))
    with pytest.raises(ValueError, match="give multiples of 2"):
        tiled_decode(tiny.vae, latents, 31, 16)


def test_a_tiled_denoiser_is_the_denoiser_where_pixels_do_not_meet():
    x = torch.randn(2, 4, 20, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tiled(lambda x, sigma: x / (1 + sigma**2), 8, 4)(x, 2.0), x / 5)
