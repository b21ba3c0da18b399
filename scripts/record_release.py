"""Record a database of this version, for the test that later versions can migrate it.

Usage: `python scripts/record_release.py NAME` writes `tests/data/release-NAME.json`.

Run it at each release, before the next migration is added. The recording has the names of the newest
migrations and rows of every model, with every state and status; it fails if one is missing.
"""

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(name: str) -> int:
    """Make a database in a temporary folder, fill it, and write its rows."""
    with tempfile.TemporaryDirectory(prefix="bursary-recording-") as folder:
        for variable in [variable for variable in os.environ if variable.startswith("BURSARY_")]:
            del os.environ[variable]
        os.environ |= {
            "BURSARY_VAR_DIR": folder,
            "BURSARY_SECRET_KEY": "recording-needs-a-key-that-signs-nothing",
            "BURSARY_EXECUTOR": "none",
            "BURSARY_CLOCK": "none",
            "DJANGO_SETTINGS_MODULE": "bursary.config.settings",
        }
        sys.path.insert(0, str(ROOT))
        django = import_module("django")  # it reads the environment
        django.setup()
        import_module("django.core.management").call_command("migrate", verbosity=0)
        recording = import_module("tests.upgrades.recording")
        recording.fill()
        if missing := recording.missing():
            print(f"No row has: {', '.join(missing)}", file=sys.stderr)
            return 1
        file = ROOT / "tests" / "data" / f"release-{name}.json"
        text = json.dumps(recording.dump(), indent=1, ensure_ascii=False)
        # Stack traces have this machine's paths.
        file.write_text(text.replace(f"{ROOT}/", "") + "\n", encoding="utf-8")
        print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
