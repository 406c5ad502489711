"""Small files that change some weights of a model: LoRA and its kin.

spelling    key in a file          -> network, layer, part
file        file                   -> its layers, each with its parts
kinds       parts of a layer       -> the change of a weight: one formula each
matching    file, family           -> which parameters of ours it changes
applying    networks               -> changed, and changed back to the bit
"""

from .applying import Applied, Use
from .file import Lora, read_lora
from .matching import Matched, match_lora

__all__ = ["Applied", "Lora", "Matched", "Use", "match_lora", "read_lora"]
