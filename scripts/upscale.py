"""A picture drawn larger, in overlapping tiles, so that memory follows the tile and not the
picture.

    python scripts/upscale.py --prompt "a red star" --image small.png --enlarge 4
    python scripts/upscale.py --prompt "a forest" --image photo.jpg --enlarge 2.5 --strength 0.4
    --tile 768

A tile is as large as the model's own pictures, unless --tile says so. The more --strength, the more
is invented; above about 0.5 every tile begins to show the prompt for itself. The picture goes to
outputs/upscale-samples. `--help` lists the flags; `ldm upscale` is the same command.
"""

import sys

from ldm.cli import main

if __name__ == "__main__":
    sys.exit(main(["upscale", *sys.argv[1:]]))
