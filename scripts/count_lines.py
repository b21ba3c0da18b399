"""Print the files and lines of Python in each package of Bursary, migrations apart."""

from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "bursary"


def main() -> None:
    """Count and print."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for module in PACKAGE.rglob("*.py"):
        parts = module.relative_to(PACKAGE).parts
        name = "migrations" if "migrations" in parts else parts[0]
        files[name] += 1
        lines[name] += len(module.read_text(encoding="utf-8").splitlines())
    for name in sorted(lines):
        print(f"{name:12} {files[name]:4} files {lines[name]:6} lines")
    print(f"{'all':12} {files.total():4} files {lines.total():6} lines")


if __name__ == "__main__":
    main()
