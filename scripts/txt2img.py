"""Pictures of a prompt.

    python scripts/txt2img.py --prompt "a red star above a blue ring"
    python scripts/txt2img.py --prompt "a lighthouse at dusk" --ckpt v1-5.safetensors --plms
    python scripts/txt2img.py --from-file prompts.txt --n_iter 1 --outdir outputs/mine
    python scripts/txt2img.py --prompt "a lighthouse" --negative_prompt blurry --seed 7 \\
        --sampler dpmpp_sde --schedule karras --steps 25 --W 512 --H 768 --preview_every 5
    python scripts/txt2img.py --prompt "a red star" --vary steps=5,20 --vary guidance_scale=1,3,7.5
    torchrun --nproc-per-node 2 scripts/txt2img.py --from-file prompts.txt

Each line of --from-file is a prompt, as it stands, and may end with flags of its own, quoted as in
a shell:

    the cat's blue star --steps 30 --seed 7 --negative_prompt "it's ugly"

Without --seed a line takes the next seed. --vary makes a grid of pictures that differ in nothing
but the values of one flag or two; a value with a comma goes in double quotes. --dry_run says what
would be drawn, and how. Under torchrun the processes share the batches of n_samples; the files are
the same whatever their number.

Without --ckpt the model that comes with the library draws, at its own size, with its own number of
steps and guidance scale. The pictures go to outputs/txt2img-samples/samples, numbered; all of them
side by side to outputs/txt2img-samples. Every PNG keeps what it was asked for. `--help` lists the
flags; `ldm txt2img` is the same command.
"""

import sys

from ldm.cli import Outcome, parse
from ldm.cli.draw import open_model, requested
from ldm.cli.output import Output
from ldm.pipeline.batches import draw, plan


def main() -> int:
    with Outcome("ldm txt2img") as outcome:
        options = parse(["txt2img", *sys.argv[1:]])
        requests = requested(options)  # one for each picture
        output = Output(options)
        model = open_model(options)
        jobs = plan(model, requests, options.n_samples)
        for job in output.batches(model, jobs):
            for event in draw(model, job, output.preview_every, output.look):
                output.take(event)  # a step, a preview or a finished picture
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
