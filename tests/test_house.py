"""House rules that no linter has: sizes, rooms for vendors, and what may stand where."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("appliance", "drivers", "models", "provisioning")
FILES = sorted(file for name in PACKAGES for file in (REPOSITORY / name).rglob("*.py"))
MOST_LINES_PER_MODULE = 400
MOST_LINES_PER_FUNCTION = 40
ROOMS = {
    "av": ("drivers/cameras/",),
    "aiomqtt": ("drivers/broker.py",),
    "paho": ("drivers/broker.py",),
    "PIL": (
        "drivers/pictures.py",
        "appliance/app/demo/",
        "appliance/handset/drawing.py",
        "models/evaluation.py",
    ),
    "onnxruntime": ("models/runner_onnx.py",),
    "onnx": ("models/",),
    "sqlite3": ("drivers/outbox.py",),
    "nacl": (
        "appliance/envelope.py",
        "appliance/sealing.py",
        "appliance/deployment/identity.py",
        "appliance/deployment/vault.py",
        "drivers/keystore_",
    ),
    "ai_edge_litert": ("models/runner_litert.py",),
    "jetson_utils": ("drivers/cameras/", "models/jetson_memory.py"),
    "tensorrt": ("models/runner_tensorrt.py",),
    "pickle": (),
    "cv2": (),
    "torch": (),
    "multiprocessing": (),
}


def names(file: Path) -> str:
    return file.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("file", FILES, ids=names)
def test_a_module_tells_one_thing(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES_PER_MODULE


@pytest.mark.parametrize("file", FILES, ids=names)
def test_functions_are_short(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    long = [
        f"{node.name}: {code_lines(node)}"
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and code_lines(node) > MOST_LINES_PER_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("file", FILES, ids=names)
def test_a_vendor_stands_in_its_own_room(file: Path) -> None:
    here = names(file)
    strangers = {
        vendor
        for vendor in imported(file)
        if vendor in ROOMS and not any(here.startswith(room) for room in ROOMS[vendor])
    }
    assert not strangers


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring and signature."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return 0 if not body else (node.end_lineno or 0) - body[0].lineno + 1


def imported(file: Path) -> set[str]:
    """Return the top-level names that a module imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found
