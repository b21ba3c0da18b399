"""Finds, in source text, the stable codes by which errors are known."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.architecture.source import nodes

CODE = re.compile(r"[a-z]+(?:_[a-z]+)*")


def attributes(source: str, name: str) -> Iterator[str]:
    """Yield each text that a class gives its attribute `name`: `reason = "move_refused"`."""
    for body in (node.body for node in nodes(source) if isinstance(node, ast.ClassDef)):
        for line in body:
            match line:
                case ast.Assign(targets=[ast.Name(id=found)], value=ast.Constant(value=str(text))):
                    pass
                case ast.AnnAssign(target=ast.Name(id=found), value=ast.Constant(value=str(text))):
                    pass
                case _:
                    continue
            if found == name:
                yield text


def members(source: str, name: str) -> Iterator[str]:
    """Yield the values of the enum `name`: `ENDED = "content_ended"`."""
    for node in nodes(source):
        if isinstance(node, ast.ClassDef) and node.name == name:
            for line in node.body:
                if isinstance(line, ast.Assign):
                    yield from _texts(line.value)


def arguments(source: str, positions: Mapping[str, int], *, keyword: str = "") -> Iterator[str]:
    """Yield the texts given to what `positions` names, at that position, or to any call as `keyword`."""
    for node in nodes(source):
        if not isinstance(node, ast.Call):
            continue
        position = positions.get(ast.unparse(node.func).rpartition(".")[2])
        if position is not None and len(node.args) > position:
            yield from _texts(node.args[position])
        for given in node.keywords:
            if given.arg == keyword:
                yield from _texts(given.value)


def entries(source: str, key: str) -> Iterator[str]:
    """Yield the texts, conditional ones too, that stand under `key` in a dictionary."""
    for node in nodes(source):
        if isinstance(node, ast.Dict):
            for name, value in zip(node.keys, node.values, strict=True):
                if isinstance(name, ast.Constant) and name.value == key:
                    yield from _texts(value)


def pairs(source: str) -> Iterator[str]:
    """Yield the codes that stand in pairs: beside a sentence, or beside an object."""
    for node in nodes(source):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            for text in (text for element in node.elts for text in _texts(element)):
                if CODE.fullmatch(text):
                    yield text


def modules(package: Path) -> Iterator[tuple[str, str]]:
    """Yield the path inside the package and the source of each module."""
    for module in sorted(package.rglob("*.py")):
        if "migrations" not in module.parts:
            yield module.relative_to(package).as_posix(), module.read_text(encoding="utf-8")


def _texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp():
            yield from _texts(node.body)
            yield from _texts(node.orelse)
