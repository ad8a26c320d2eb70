"""Look at everything by which the system can be reached or told something, from the code itself."""

from __future__ import annotations

import ast
import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("appliance", "drivers", "models", "provisioning")
ROUTE_CALLS = {"add_get", "add_post", "add_put", "add_delete", "add_route", "add_static", "start_server"}
"""How aiohttp is told of a route, and asyncio of a listener."""
COMPLETION = ("--install-completion", "--show-completion")
"""Typer's own; they reach the user's shell and nothing of ours."""


def commands() -> list[str]:
    """Return every verb, option and argument, as `ops sign --as`, sorted; what `python -m` starts too."""
    from appliance.__main__ import app as appliance_app
    from appliance.app.handset import build_handset_app
    from models.command import app as models_app
    from provisioning.__main__ import app as provision_app
    from provisioning.ops.commands import app as ops_app

    applications = {
        "appliance": appliance_app,
        "handset": build_handset_app(),
        "models": models_app,
        "ops": ops_app,
        "provision": provision_app,
    }
    found = {
        item
        for name, application in applications.items()
        for item in _command_items(name, typer.main.get_command(application))
    }
    return sorted(found | set(_module_items()))


def topics() -> list[str]:
    """Return what the broker lets whom do, and where the code publishes and subscribes, sorted."""
    from drivers.mosquitto import BrokerIdentity, _access_of

    found: set[str] = set()
    for kind in ("appliance", "handset"):
        lines = _access_of(BrokerIdentity(name="ID", kind=kind)).splitlines()
        found |= {f"broker: {kind} {line.removeprefix('topic ')}" for line in lines if "topic " in line}
    for path in sorted((REPOSITORY / "appliance").rglob("*.py")):
        found |= set(_link_calls(path))
    return sorted(found)


def routes() -> list[str]:
    """Return every HTTP route, as the code adds it, sorted."""
    found: set[str] = set()
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ROUTE_CALLS:
                    found.add(f"{path.stem}: {ast.unparse(node.args[0])}")
    return sorted(found)


def channel_records() -> list[str]:
    """Return every record between supervisor and workers with its fields, sorted."""
    from appliance.records.channel import CHANNEL_RECORDS

    return sorted(item for kind in CHANNEL_RECORDS for item in _record_items(kind))


def wire_records() -> list[str]:
    """Return every other record that has a schema with its fields, and what lies in them, sorted."""
    from appliance.records.channel import CHANNEL_RECORDS
    from appliance.schemas.generate import WIRE_RECORDS

    waiting = [kind for kind in WIRE_RECORDS if kind not in CHANNEL_RECORDS]
    # What channel records hold crosses the channel too.
    waiting += [part for kind in CHANNEL_RECORDS for part in _parts_of(kind)]
    seen: set[type] = set()
    found: set[str] = set()
    while waiting:
        kind = waiting.pop()
        if kind not in seen:
            seen.add(kind)
            found |= set(_record_items(kind))
            waiting += _parts_of(kind)
    return sorted(found)


def configuration() -> list[str]:
    """Return every key of the configuration, as `cameras[].id`, sorted."""
    from appliance.config import Config

    return sorted(_configuration_keys(Config, ""))


def audit_kinds() -> list[str]:
    """Return every kind of audit record, sorted."""
    from appliance.audit import AuditKind

    return sorted(kind.value for kind in AuditKind)


def model_outputs() -> list[str]:
    """Return every output of every model of the manifest, as the code binds it, sorted."""
    from models.decode import CENTERFACE_OUTPUTS, YUNET_OUTPUTS, YUNET_STRIDES_PX
    from models.manifest import load_manifest

    yunet = {f"{name}_{stride}" for name in YUNET_OUTPUTS for stride in YUNET_STRIDES_PX}
    names = {
        "centerface": {name for name, _ in CENTERFACE_OUTPUTS.values()},
        "yunet": yunet,
        "dlib": {"template"},
        "chip_network": {"template"},
    }
    return sorted(
        f"{model.id}: {name}" for model in load_manifest().models for name in names[model.converter]
    )


def graph_outputs(folder: Path) -> dict[str, list[str]]:
    """Return the outputs of the graphs that are present in a models folder, by model."""
    import onnx

    from models.manifest import load_manifest
    from models.store import model_path

    return {
        model.id: sorted(output.name for output in onnx.load(model_path(folder, model)).graph.output)
        for model in load_manifest().models
        if model_path(folder, model).is_file()
    }


def _command_items(path: str, command: Any) -> Iterator[str]:
    yield path
    for parameter in command.params:
        long = [option for option in parameter.opts if option.startswith("--")]
        if parameter.param_type_name == "argument":
            yield f"{path} {parameter.name.upper()}"
        elif long and long[0] not in COMPLETION:
            yield f"{path} {long[0]}"
    for name, inner in getattr(command, "commands", {}).items():
        yield from _command_items(f"{path} {name}", inner)


def _module_items() -> Iterator[str]:
    """Yield what can be started with `python -m`, and the options of what parses its own."""
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            name = path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".")
            tree = ast.parse(path.read_text(encoding="utf-8"))
            conditions = [ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If)]
            if any("__name__ == " in condition for condition in conditions):
                yield f"python -m {name.removesuffix('.__main__')}"
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                    yield f"python -m {name} {ast.literal_eval(node.args[0])}"


def _link_calls(path: Path) -> Iterator[str]:
    module = path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("publish", "subscribe"):
            yield f"{module}: {ast.unparse(node.func)}({ast.unparse(node.args[0])})"


def _record_items(kind: type) -> Iterator[str]:
    if dataclasses.is_dataclass(kind):
        yield kind.__name__
        for field in dataclasses.fields(kind):
            yield f"{kind.__name__}.{field.name}"
    else:
        for member in kind.__members__.values():  # type: ignore[attr-defined]  # an enumeration
            yield f"{kind.__name__}={member.value}"


def _parts_of(kind: type) -> list[type]:
    """Return the dataclasses and enumerations among the types of a record's fields."""
    if not dataclasses.is_dataclass(kind):
        return []
    hints = typing.get_type_hints(kind)
    return [part for hint in hints.values() for part in _leaves(hint)]


def _leaves(hint: Any) -> Iterator[type]:
    for inner in typing.get_args(hint):
        yield from _leaves(inner)
    if dataclasses.is_dataclass(hint) or hasattr(hint, "__members__"):
        yield hint


def _configuration_keys(kind: Any, prefix: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind).items():
        parts = [part for part in _leaves(hint) if dataclasses.is_dataclass(part)]
        if not parts:
            yield prefix + name
        is_list = typing.get_origin(hint) is tuple or isinstance(hint, types.GenericAlias)
        for part in parts:
            yield from _configuration_keys(part, f"{prefix}{name}{'[]' if is_list else ''}.")
