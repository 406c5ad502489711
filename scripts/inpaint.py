"""A picture repainted where a mask is white, by any model.

    python scripts/inpaint.py --prompt "a red star" --image scene.png --mask mask.png
    python scripts/inpaint.py --prompt "a door" --image house.png --mask mask.png --only_masked
    --mask_blur 4 python scripts/inpaint.py --indir data/inpainting_examples --outdir
    outputs/inpainting --steps 50

Where the mask is black not a bit of the picture changes, unless --feather lets the edge reach
there. --indir takes every example.png that has an example_mask.png, to example.png in --outdir, as
CompVis's script does; otherwise pictures go to outputs/inpaint-samples. `--help` lists the flags;
`ldm inpaint` is the same command.
"""

import sys

from ldm.cli import main

if __name__ == "__main__":
    sys.exit(main(["inpaint", *sys.argv[1:]]))
