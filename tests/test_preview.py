import torch
import torch.nn.functional as F

from ldm.vae.preview import LinearPreview, linear_preview


def test_a_linear_decoder_is_found_exactly():
    g = torch.Generator().manual_seed(0)
    latents, weight = torch.randn(2, 4, 6, 5, generator=g), 0.1 * torch.randn(5, 3, generator=g)
    means = torch.einsum("bzhw,zc->bchw", latents, weight[:4]) + weight[4][:, None, None]
    texture = torch.randn(2, 3, 6, 3, 5, 3, generator=g)
    texture = texture - texture.mean(
        (3, 5), keepdim=True
    )  # nothing of it is left in the mean of a patch
    images = F.interpolate(means, scale_factor=3) + texture.reshape(2, 3, 18, 15)
    preview = LinearPreview.fit(latents, images)
    assert torch.allclose(preview.weight, weight, atol=1e-5)
    assert preview.factor == 3
    seen = preview(latents)
    assert seen.shape == (2, 3, 18, 15)
    assert torch.allclose(
        seen[..., 1::3, 1::3], means.clamp(-1, 1), atol=1e-5
    )  # the middles of the patches


def test_it_stays_within_range():
    preview = LinearPreview(torch.full((5, 3), 9.0), 2)
    assert preview(torch.ones(1, 4, 2, 2)).unique().tolist() == [1]


def test_the_map_is_fitted_to_what_is_decoded(tiny):
    found = [linear_preview(tiny.encode, tiny.decode, side=128) for _ in range(2)]
    assert found[0].factor == tiny.vae.factor
    assert torch.equal(found[0].weight, found[1].weight)

    def decode(latents):
        return F.interpolate(0.5 * latents[:, 1:] + 0.1, scale_factor=2)

    expected = torch.cat([torch.zeros(1, 3), 0.5 * torch.eye(3), torch.full((1, 3), 0.1)])
    assert torch.allclose(linear_preview(tiny.encode, decode, 128).weight, expected, atol=1e-4)
