"""How much of the machine's memory is free, and what this process takes."""

import os

import torch


def resident() -> int:
    """Bytes that it takes now, as far as the system says; else those of torch alone, about."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 230_000_000


def free_memory(device: torch.device) -> int:
    """Bytes that are free for a computation, as far as the system says; else a careful 4 GB."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows, macOS
        return 4 * 10**9
