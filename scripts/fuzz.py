"""Everything that comes in from outside, damaged and hostile, by the thousand: how it ended, how
long the slowest took (processor time), and the most memory of the process.

    python scripts/fuzz.py [TIMES]      TIMES as many cases as the tests have (default 2)

Each door is a process of its own, which may not use more than a gigabyte.
"""

import os
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

TESTS = Path(__file__).parent.parent / "tests"
GIGABYTE = 10**6  # in kilobytes
DOORS = {
    "damaged checkpoints": "test_corruption.py::test_random_corruption",
    "hostile pickles": "test_weights_fuzz.py::test_hostile_pickles",
    "hostile containers": "test_weights_fuzz.py::test_hostile_containers",
    "hostile headers": "test_weights_fuzz.py::test_hostile_headers",
    "large headers": "test_weights_fuzz.py::test_large_headers_end_soon",
    "large pickles": "test_weights_fuzz.py::test_large_pickles_end_soon",
    "many empty tensors": "test_weights_fuzz.py::test_many_empty_tensors_end_soon",
    "family headers": "test_odd_configs.py::test_odd_values_in_family_headers",
    "families' headers": "test_odd_families.py::test_odd_values_in_the_headers_of_all_families",
    "folders' configs": "test_odd_configs.py::test_odd_values_in_configs",
    "families' folders": "test_odd_families.py::test_odd_values_in_the_folders_of_all_families",
    "configs beside files": "test_odd_families.py::test_odd_configs_beside_a_checkpoint",
    "depth maps": "test_odd_families.py::test_damaged_depth_maps",
    "damaged controls": "test_controls_fuzz.py::test_damaged_controls",
    "hostile IP-Adapters": "test_controls_fuzz.py::test_hostile_pickles_of_ip_adapters",
    "flipped bits": "test_odd_configs.py::test_every_flipped_bit_of_our_own_files_is_seen",
    "paused drawings": "test_paused_fuzz.py::test_odd_paused_drawings",
    "texts in pictures": "test_metadata_fuzz.py::test_damaged_texts",
    "damaged pictures": "test_metadata_fuzz.py::test_damaged_files",
    "prompts": "test_metadata_fuzz.py::test_damaged_prompts",
    "damaged LoRAs, words": "test_additions_fuzz.py::test_damaged_additions",
    "odd parts of LoRAs": "test_additions_fuzz.py::test_odd_parts_of_loras",
    "hostile words": "test_additions_fuzz.py::test_hostile_pickles_of_embeddings",
    "hostile additions": "test_hostile_additions.py::test_odd_objects_end_in_an_error_of_one_line",
    "vision towers": "test_hostile_additions.py::test_damaged_vision_towers",
    "word lists": "test_metadata_fuzz.py::test_damaged_word_lists",
    "upscalers": "test_enlarging.py::test_hostile_upscalers",
    "VAE files": "test_vae_files.py::test_damaged_vae_files",
    "training folders": "test_training_folders_fuzz.py::"
    "test_a_folder_is_read_or_refused_in_one_line",
}


def opened(test: str, times: int) -> tuple[dict[str, float], int, int]:
    """One door. -> its counts, the exit status of its process, its peak memory in kilobytes"""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        told = [str(TESTS / test), f"--junitxml={report}", "-o", "junit_family=xunit1"]
        log = os.open(Path(folder, "log"), os.O_CREAT | os.O_RDWR)
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *told],
            {**os.environ, "LDM_FUZZ": str(times)},
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
        )
        _, status, usage = os.wait4(process, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            print(Path(folder, "log").read_text(errors="replace")[-4000:])
        counts = {"read": 0.0, "refused": 0.0, "longest": 0.0}
        found = ElementTree.parse(report).iter("property") if report.exists() else ()
        for item in found:
            name, value = item.get("name", ""), float(item.get("value", 0))
            counts[name] = max(counts[name], value) if name == "longest" else counts[name] + value
    return counts, code, usage.ru_maxrss


def main() -> int:
    times, failed, total = int((sys.argv[1:] or ["2"])[0]), 0, 0
    print(f"{'':22}  cases   read refused  longest   memory")
    for door, test in DOORS.items():
        counts, code, peak = opened(test, times)
        read, refused = int(counts["read"]), int(counts["refused"])
        wrong = "" if code == 0 and peak < GIGABYTE and read + refused else "  FAILED"
        failed, total = failed + bool(wrong), total + read + refused
        print(
            f"{door:22} {read + refused:6} {read:6} {refused:7} {counts['longest']:6.2f} s "
            f"{peak / 1000:5.0f} MB{wrong}",
            flush=True,
        )
    print(f"{total} cases, {len(DOORS) - failed} of {len(DOORS)} doors as they should be")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
