"""The slow tests run on the same small world as the flow tests."""

from tests.flow.conftest import made_world, world

__all__ = ["made_world", "world"]
