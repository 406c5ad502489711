"""Many pictures of one command: lines of a file, grids over settings, batches."""

import numpy as np

from helpers import names, request_in
from ldm.images.files import open_image
from ldm.images.sheets import labelled_grid


def pixels(path):
    return np.asarray(open_image(path)).astype(int)


def test_from_file_with_a_short_last_chunk(run, tmp_path):
    (tmp_path / "p.txt").write_text("one\ntwo\nthree\n")
    assert run("txt2img --from-file p.txt --n_iter 1 --n_samples 2 --outdir out --seed 1")[0] == 0
    requests = [
        request_in(tmp_path / "out/samples" / name) for name in names(tmp_path / "out/samples")
    ]
    assert [(request.prompt, request.seed) for request in requests] == [
        ("one", 1),
        ("two", 2),
        ("three", 3),
    ]


def test_fixed_code_repeats_the_noise(run, tmp_path):
    run("txt2img --prompt 'a cat' --n_iter 2 --n_samples 2 --fixed_code --outdir out")
    one, two, again, _ = (pixels(tmp_path / f"out/samples/0000{i}.png") for i in range(4))
    np.testing.assert_array_equal(one, again)
    assert (one != two).any()
    assert [request_in(tmp_path / f"out/samples/0000{i}.png").seed for i in range(4)] == [
        42,
        43,
        42,
        43,
    ]


def test_compviss_batches_go_on_with_one_stream_of_noise(run, tmp_path, tiny):
    line = (
        "txt2img --prompt 'a cat' --sampler ddim --steps 4 --compat compvis "
        "--n_iter 2 --n_samples 2 --skip_grid"
    )
    assert run(f"{line} --outdir out")[0] == 0
    first, later = (request_in(tmp_path / f"out/samples/0000{i}.png") for i in (1, 3))
    assert [(its.seed, its.only, its.noise_offset) for its in (first, later)] == [
        (42, 1, 0),
        (42, 1, 5),
    ]
    (again,) = tiny.generate(later)
    assert (
        np.abs(np.asarray(again).astype(int) - pixels(tmp_path / "out/samples/00003.png")).max()
        <= 1
    )
    run(f"{line} --outdir fixed --fixed_code")
    assert request_in(tmp_path / "fixed/samples/00003.png").noise_offset == 0


def test_lines_with_flags_of_their_own(run, tmp_path):
    (tmp_path / "p.txt").write_text(
        "one's cat\ntwo --steps 3 --seed 7 --W 20\nthree --negative_prompt 'a dog'\n"
    )
    code, out, _ = run("txt2img --from-file p.txt --n_iter 2 --n_samples 2 --outdir out --seed 1")
    assert code == 0
    made = [request_in(path) for path in sorted((tmp_path / "out/samples").iterdir())]
    assert [request.prompt for request in made] == ["one's cat", "two", "three"] * 2
    assert [request.seed for request in made] == [1, 7, 3, 4, 8, 6]
    assert [(request.steps, request.width) for request in made[:3]] == [(4, 16), (3, 20), (4, 16)]
    assert made[2].negative == "a dog"
    assert (
        "6 pictures of 16 x 16 / 20 x 16 by tiny (tiny): euler, karras, 4 of 4 / 3 of 3 steps"
        in out
    )


def test_a_grid_over_two_settings(run, tmp_path):
    assert (
        run("txt2img --prompt 'a cat' --vary steps=1,2,3 --vary scale=0,7.5 --outdir out")[0] == 0
    )
    made = [request_in(path) for path in sorted((tmp_path / "out/samples").iterdir())]
    assert [(request.steps, request.guidance_scale) for request in made] == [
        (n, s) for s in (0, 7.5) for n in (1, 2, 3)
    ]
    assert {request.seed for request in made} == {42}
    cells = [open_image(path) for path in sorted((tmp_path / "out/samples").iterdir())]
    sheet = labelled_grid(
        cells, ["steps 1", "steps 2", "steps 3"], ["guidance_scale 0.0", "guidance_scale 7.5"]
    )
    np.testing.assert_array_equal(pixels(tmp_path / "out/grid-0000.png"), np.asarray(sheet))


def test_a_cell_of_a_grid_may_hold_several_pictures(run, tmp_path):
    assert run("txt2img --vary seed=1,9 --n_samples 2 --outdir out")[0] == 0
    seeds = [request_in(path).seed for path in sorted((tmp_path / "out/samples").iterdir())]
    assert seeds == [1, 2, 9, 10]
    assert open_image(tmp_path / "out/grid-0000.png").width > 4 * 16


def test_fixed_code_begins_again_with_each_chunk_of_a_file(run, tmp_path):
    (tmp_path / "p.txt").write_text("one\ntwo\nthree\n")
    run("txt2img --from-file p.txt --n_iter 2 --n_samples 2 --fixed_code --outdir out --seed 1")
    made = [request_in(path) for path in sorted((tmp_path / "out/samples").iterdir())]
    assert [(request.prompt, request.seed) for request in made] == [
        ("one", 1),
        ("two", 2),
        ("three", 1),
    ] * 2
