"""How long texts are, as text encoders read them: for those who want to know."""

from collections.abc import Sequence

from ..clip.tokenizer import Tokenizer
from .batches import without_loras
from .conditioner import chunks_of
from .schedule import PromptSchedule


def chunk_sizes(
    prompts: Sequence[str],
    negatives: Sequence[str],
    tokenizer: Tokenizer,
    syntax: str = "a1111",
    changes: int = 100,
) -> dict[str, list[int]]:
    """How many tokens there are in each chunk of every text that these make the model read."""
    prompts = [without_loras(prompt, syntax) for prompt in prompts]
    texts = PromptSchedule(prompts, negatives, changes, syntax=syntax).texts
    return {text: [len(chunk) for chunk in chunks_of(tokenizer, text, syntax)] for text in texts}
