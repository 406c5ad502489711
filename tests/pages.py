"""Pages of the documentation that tests compute: compared with what is written, or written."""

import argparse
import tempfile
from pathlib import Path


def table(head, rows):
    """Markdown's, of rows of texts."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def assert_true(page, computed, test):
    """test: the file that writes the page."""
    assert page.read_text(encoding="utf-8") == computed, f"run python {test}"


def write(doc, page, computed):
    """What such a test does as a program. computed: a function of a folder to work in"""
    argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page.write_text(computed(Path(folder)), encoding="utf-8")
    print(page)
