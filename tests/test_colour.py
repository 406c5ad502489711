import numpy as np
import torch

from ldm.images.colour import luminance, statistics, with_colours_of, with_luminance
from ldm.images.saving import to_pil


def pictures(count, seed=0):
    return 2 * torch.rand(count, 3, 12, 10, generator=torch.Generator().manual_seed(seed)) - 1


def test_luminance_is_pils():
    found = ((luminance(pictures(1)) + 1) * 127.5)[0, 0].numpy()
    assert (
        np.abs(found - np.asarray(to_pil(pictures(1))[0].convert("L")).astype(float)).max() <= 1.5
    )
    assert luminance(torch.full((1, 3, 2, 2), 0.3)).sub(0.3).abs().max() < 1e-6


def test_the_luminance_is_the_sources_and_within_range():
    colours, source = pictures(3), pictures(1, seed=1)
    result = with_luminance(colours, source)
    torch.testing.assert_close(
        luminance(result), luminance(source).expand(3, -1, -1, -1), atol=1e-6, rtol=0
    )
    assert result.abs().max() <= 1 + 1e-6


def test_the_colour_is_the_pictures_where_there_is_room():
    red = torch.tensor([0.2, -0.1, -0.1]).view(1, 3, 1, 1)
    grey = torch.full((1, 3, 1, 1), 0.5)
    torch.testing.assert_close(with_luminance(red, grey), red - luminance(red) + 0.5)
    for end in (-1.0, 1.0):
        torch.testing.assert_close(
            with_luminance(red, torch.full((1, 3, 1, 1), end)), torch.full((1, 3, 1, 1), end)
        )
    torch.testing.assert_close(with_luminance(grey, -grey), -grey)


def test_a_picture_keeps_its_own_luminance():
    torch.testing.assert_close(with_luminance(pictures(2), pictures(2)), pictures(2))


def test_matched_colours_have_the_sources_mean_and_spread():
    source = 0.5 * pictures(1, seed=1) + 0.1
    result = with_colours_of(0.3 * pictures(2) - 0.2, source)
    weight = torch.ones(1, 1, 12, 10)
    for found, wanted in zip(statistics(result, weight), statistics(source, weight)):
        torch.testing.assert_close(found, wanted.expand_as(found), atol=1e-5, rtol=0)


def test_a_drift_is_undone():
    source = 0.7 * pictures(1)
    drifted = 0.9 * source + torch.tensor([0.05, -0.1, 0.1]).view(3, 1, 1)
    torch.testing.assert_close(with_colours_of(drifted, source), source, atol=1e-5, rtol=0)


def test_only_what_is_to_be_compared_counts():
    source, drifted, where = 0.7 * pictures(1), 0.7 * pictures(1) + 0.1, torch.zeros(1, 1, 12, 10)
    where[..., :5] = 1
    drifted[..., 5:] = 0.9
    torch.testing.assert_close(
        with_colours_of(drifted, source, where)[..., :5], source[..., :5], atol=1e-5, rtol=0
    )
    assert with_colours_of(drifted, source, 0 * where) is drifted


def test_a_flat_picture_only_takes_the_mean():
    flat = with_colours_of(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.25))
    torch.testing.assert_close(flat, torch.full((1, 3, 4, 4), 0.25))
