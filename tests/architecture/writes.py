"""Finds, in source text, the writes of columns and the creations of rows."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.architecture.source import nodes

CREATORS = {"create", "acreate", "bulk_create", "abulk_create", "get_or_create", "update_or_create"}
UPDATERS = {"update", "aupdate", "update_or_create", "get_or_create", "create", "acreate"}
LISTING_UPDATERS = {"bulk_update", "abulk_update"}  # take the columns' names in a list


@dataclass(frozen=True)
class Write:
    line: int
    model: str | None  # None: the source does not say
    column: str


def writes(source: str) -> Iterator[Write]:
    """Yield every write of a column: an assigned attribute, an update, a constructor's argument."""
    names = _imported_as(source)
    for node in nodes(source):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield Write(node.lineno, None, node.attr)
        elif isinstance(node, ast.Call):
            found = _model(node.func)
            for column in _columns(node):
                yield Write(node.lineno, names.get(found or "", found), column)


def creations(source: str, *, model: str, related_name: str) -> Iterator[int]:
    """Yield the line of every call that makes rows of `model`, also through a related manager."""
    names = _imported_as(source)
    for node in nodes(source):
        if not isinstance(node, ast.Call):
            continue
        found = _model(node.func) or ""
        of_the_model = names.get(found, found) == model
        constructs = of_the_model and _called(node) == found
        creates = _called(node) in CREATORS and (of_the_model or _manager(node) == related_name)
        if constructs or creates:
            yield node.lineno


def _imported_as(source: str) -> dict[str, str]:
    """Return the true names of what was imported under another."""
    return {
        alias.asname: alias.name
        for node in nodes(source)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }


def _columns(call: ast.Call) -> Iterator[str]:
    called = _called(call)
    if called == "setattr":
        yield from _strings(call.args[1:2])
    elif called in LISTING_UPDATERS:
        yield from _strings([*call.args[1:], *(keyword.value for keyword in call.keywords)])
    elif called in UPDATERS or called[:1].isupper():
        for keyword in call.keywords:
            if keyword.arg and keyword.arg != "defaults":
                yield keyword.arg
            elif isinstance(keyword.value, ast.Dict):  # update(**{"state": …}), defaults={"state": …}
                yield from _strings(key for key in keyword.value.keys if key)
    yield from _strings(keyword.value for keyword in call.keywords if keyword.arg == "update_fields")


def _strings(nodes: Iterator[ast.expr] | list[ast.expr]) -> Iterator[str]:
    for outer in nodes:
        for node in ast.walk(outer):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def _called(call: ast.Call) -> str:
    return _last(call.func) or ""


def _manager(call: ast.Call) -> str | None:
    return _last(call.func.value) if isinstance(call.func, ast.Attribute) else None


def _last(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _model(node: ast.expr) -> str | None:
    """Return the class that a chain such as `Model.objects.filter(…).update` begins with."""
    while True:
        name = _last(node)
        if name and name[:1].isupper():
            return name
        if isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return None
