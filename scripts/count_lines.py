"""Print the number of files and lines of each package, migrations separately, and of private functions."""

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "bursary"


def functions(source: str) -> Counter[str]:
    """Count a module's functions: all, private and used once, and of the latter those with a decorator."""
    found: Counter[str] = Counter()
    tree = ast.parse(source)
    used = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            once = node.name.startswith("_") and used[node.name] == 1
            found += Counter(all=1, once=once, decorated=once and bool(node.decorator_list))
    return found


def main() -> None:
    """Count and print."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    private: Counter[str] = Counter()
    for module in PACKAGE.rglob("*.py"):
        parts = module.relative_to(PACKAGE).parts
        name = "migrations" if "migrations" in parts else parts[0]
        source = module.read_text(encoding="utf-8")
        files[name] += 1
        lines[name] += len(source.splitlines())
        private += functions(source) if name != "migrations" else Counter()
    for name in sorted(lines):
        print(f"{name:12} {files[name]:4} files {lines[name]:6} lines")
    print(f"{'all':12} {files.total():4} files {lines.total():6} lines")
    print(f"{private['once']} of {private['all']} functions are private and used once", end="; ")
    print(f"{private['decorated']} of these are decorated")


if __name__ == "__main__":
    main()
