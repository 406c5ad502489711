"""The names, shapes and types of the tensors in published checkpoints."""

import gzip
import json
from pathlib import Path

MANIFESTS = json.loads(
    gzip.decompress((Path(__file__).parent / "data" / "manifests.json.gz").read_bytes())
)
