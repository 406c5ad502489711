"""What can be learnt beside a model that stays as it is, each by the loop and the loss of
`fine_tuning`, with other parameters:

low_rank    LoRA               two narrow matrices for each of some layers
inversion   textual inversion  the vectors of a new word
control     ControlNet         a copy of the U-Net's way down, which is shown a hint
"""

from .control import CONTROL, Control
from .inversion import INVERSION, Inversion
from .low_rank import LOW_RANK, LowRank

__all__ = ["CONTROL", "INVERSION", "LOW_RANK", "Control", "Inversion", "LowRank"]
