"""Pictures of a prompt that start from another picture.

    python scripts/img2img.py --prompt "a green heart" --init-img drawing.png --strength 0.6
    python scripts/img2img.py --prompt "a pirate ship" --init-img sketch.jpg --ckpt v1-5-pruned-emaonly.safetensors

Of the steps round(steps * strength) run: strength 0 gives the picture back, strength 1 leaves next to nothing of it.
Its size becomes the next smaller one that the model can take, or --W and --H. The pictures go to
outputs/img2img-samples. `--help` lists the flags; `ldm img2img` is the same command.
"""

import sys

from ldm.cli import main

if __name__ == "__main__":
    sys.exit(main(["img2img", *sys.argv[1:]]))
