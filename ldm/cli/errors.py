"""What is said of a command that could not do what it was asked for."""

from ..runtime.finite import NotFinite
from .interrupt import INTERRUPTED

OUT_OF_MEMORY = (
    "memory does not suffice: give smaller --W and --H, or --tile; for fewer pictures at once "
    "--n_samples 1; on a GPU --dtype float16, or --vram with what it has, in GB"
)


def explained(error: BaseException) -> tuple[int, str] | None:
    """The exit code of an error and the words for it, or None of a mistake of this program's."""
    match error:
        case NotFinite():
            return 1, str(error)
        case MemoryError() | RuntimeError() if short_of_memory(error):
            return 1, OUT_OF_MEMORY
        case OSError() if error.filename is not None:
            return 2, f"{error.filename}: {error.strerror}"
        case ValueError() | OSError():
            return 2, str(error)
        case KeyboardInterrupt():
            return INTERRUPTED, "interrupted: what was saved before is kept"
    return None


def short_of_memory(error: Exception) -> bool:
    """Only CUDA has an error of its own for that; a CPU and MPS say it in words."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(part in str(error) for part in words)
