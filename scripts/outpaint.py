"""A picture continued at its sides.

    python scripts/outpaint.py --prompt "a red star on a blue ground" --image scene.png --left 32
    --right 32 python scripts/outpaint.py --prompt "a beach" --image photo.jpg --bottom 128
    --mask_blur 16 --ckpt v1-5.safetensors

The picture itself stays as it is, to the bit. The new one goes to outputs/outpaint-samples.
`--help` lists the flags; `ldm outpaint` is the same command.
"""

import sys

from ldm.cli import main

if __name__ == "__main__":
    sys.exit(main(["outpaint", *sys.argv[1:]]))
