"""Pictures of a prompt that start from another picture.

    python scripts/img2img.py --prompt "a green heart" --init-img drawing.png --strength 0.6
    python scripts/img2img.py --prompt "a pirate ship" --init-img sketch.jpg --ckpt v1-5.safetensors

Of the steps round(steps * strength) run: strength 0 gives the picture back, strength 1 leaves next
to nothing of it. Its size becomes the next smaller one that the model can take, or --W and --H. The
pictures go to outputs/img2img-samples. `--help` lists the flags; `ldm img2img` is the same command.
"""

import sys

from ldm.cli import Outcome, parse
from ldm.cli.draw import open_model, requested
from ldm.cli.output import Output
from ldm.cli.requests import open_files, suited
from ldm.pipeline.batches import draw, plan


def main() -> int:
    with Outcome("ldm img2img") as outcome:
        options = parse(["img2img", *sys.argv[1:]])
        requests = requested(options)  # one for each picture to draw
        files = open_files(requests)  # what they start from
        output = Output(options)
        model = open_model(options)
        requests = suited(options, model, requests)  # CompVis's scale, for its models
        jobs = plan(model, requests, options.n_samples, *files)
        for job in output.batches(model, jobs):
            for event in draw(model, job, output.preview_every, output.look):
                output.take(event)  # a step, a preview or a finished picture
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
