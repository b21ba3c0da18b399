"""The sample catalog, for whoever tries Bursary out: written once, where the configured folder is read."""

import json
import os
from datetime import datetime
from pathlib import Path

from bursary.catalog.demo.shift import courses


def write_sample_catalog(path: Path, *, now: datetime) -> bool:
    """Write the sample, its dates moved to `now`, unless the file exists; tell whether it was written."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record in courses(now=now))
    draft.replace(path)
    return True
