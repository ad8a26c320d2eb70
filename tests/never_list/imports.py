"""What the production code says, read as a tree: for rules about what must not exist anywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("appliance", "drivers", "models", "provisioning")


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of the production code by its dotted name."""
    return {
        _name_of(path): ast.parse(path.read_text(encoding="utf-8"))
        for package in PACKAGES
        for path in sorted((REPOSITORY / package).rglob("*.py"))
    }


def imports_of(module: str) -> set[str]:
    """Return the project's modules that a module imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & modules().keys()


def reached_from(module: str) -> set[str]:
    """Return every module of the project that can come into the process of `module`."""
    reached: set[str] = set()
    waiting = {module}
    while waiting:
        each = waiting.pop()
        reached.add(each)
        waiting |= imports_of(each) - reached
    return reached


def importers_of(module: str) -> set[str]:
    """Return the modules that import a module."""
    return {each for each in modules() if module in imports_of(each)}


def callers_of(name: str) -> set[str]:
    """Return where something of this name is called, as `module:Class` or `module:function`.

    A private function is no place of its own: who calls it stands for it.
    """
    return {where for module in modules() for where in _public_callers(module, name)}


def _public_callers(module: str, name: str) -> set[str]:
    found: set[str] = set()
    waiting, seen = {name}, set[str]()
    while waiting:
        each = waiting.pop()
        seen.add(each)
        owners = set(_owners_of_calls(modules()[module], each))
        private = {owner for owner in owners if owner.startswith("_")}
        found |= {f"{module}:{owner}" for owner in owners - private}
        waiting |= private - seen
    return found


def _owners_of_calls(tree: ast.Module, name: str) -> Iterator[str]:
    for outermost in tree.body:
        if any(isinstance(node, ast.Call) and _called_name(node) == name for node in ast.walk(outermost)):
            yield getattr(outermost, "name", "")


def _called_name(node: ast.Call) -> str | None:
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def _name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
