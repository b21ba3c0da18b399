"""The code base as text and as syntax trees: modules, prose, names."""

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "bursary"

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def modules(folder: Path = PACKAGE) -> Iterator[Path]:
    """Yield every module below `folder`, migrations excepted."""
    for module in sorted(folder.rglob("*.py")):
        if "migrations" not in module.parts:
            yield module


@cache
def source_of(module: Path) -> str:
    """Return a module's source."""
    return module.read_text(encoding="utf-8")


@cache
def tree(source: str) -> ast.Module:
    """Return a source's syntax tree."""
    return ast.parse(source)


@cache
def nodes(source: str) -> Sequence[ast.AST]:
    """Return every node of a source's syntax tree."""
    return list(ast.walk(tree(source)))


def definitions(module: Path) -> Iterator[Definition]:
    """Yield every class and function of a module, nested ones too."""
    for node in nodes(source_of(module)):
        if isinstance(node, Definition):
            yield node


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each docstring, the docstrings of constants too."""
    for node in nodes(source):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def place(module: Path, line: int) -> str:
    """Return `path:line`, as editors understand it."""
    return f"{module.relative_to(ROOT)}:{line}"
