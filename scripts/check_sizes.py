"""Fail if a module or a function is too long.

Usage: `python scripts/check_sizes.py [FOLDER …]`
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 40  # from `def` to the last line, with the docstring and without decorators
FOLDERS = ("bursary", "tests", "bench", "scripts")


def offences(module: Path) -> Iterator[str]:
    """Yield `path:line: a sentence` for the module, and for each of its functions, that is too long."""
    source = module.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    if lines > MODULE_LINES:
        yield f"{module}:{MODULE_LINES + 1}: the module has {lines} lines, {MODULE_LINES} are allowed"
    for node in ast.walk(ast.parse(source, filename=str(module))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{module}:{node.lineno}: {node.name}() has {lines} lines, {FUNCTION_LINES} are allowed"


def main(folders: list[str]) -> int:
    """Print every offence below the folders, except in migrations; return the exit status."""
    found = [
        offence
        for folder in folders or FOLDERS
        for module in sorted(Path(folder).rglob("*.py"))
        if "migrations" not in module.parts
        for offence in offences(module)
    ]
    for offence in found:
        print(offence)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
