"""Fail where a module or a function has outgrown what a reader takes in at once.

Usage: `python scripts/check_sizes.py [FOLDER …]`
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 40  # from `def` to the last line, docstring and all; decorators not counted
FOLDERS = ("bursary", "tests", "bench", "scripts")


def offences(module: Path) -> Iterator[str]:
    """Yield `path:line: what is too long` for the module and each of its functions."""
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
    """Print every offence below the folders, migrations excepted; return the exit status."""
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
