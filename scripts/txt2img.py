"""Pictures of a prompt.

    python scripts/txt2img.py --prompt "a red star above a blue ring"
    python scripts/txt2img.py --prompt "a lighthouse at dusk" --ckpt v1-5-pruned-emaonly.safetensors --plms
    python scripts/txt2img.py --from-file prompts.txt --n_iter 1 --outdir outputs/mine
    python scripts/txt2img.py --prompt "a lighthouse" --negative_prompt blurry --sampler dpmpp_sde --schedule karras \\
        --steps 25 --W 512 --H 768 --seed 7 --preview_every 5

Without --ckpt the model that comes with the library draws, at its own size, with its own number of steps and scale.
The pictures go to outputs/txt2img-samples/samples, numbered; all of them side by side to outputs/txt2img-samples.
Every PNG keeps what it was asked for. `--help` lists the flags; `ldm txt2img` is the same command.
"""

import sys

from ldm.cli import main

if __name__ == "__main__":
    sys.exit(main(["txt2img", *sys.argv[1:]]))
