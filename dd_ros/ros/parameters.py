# SPDX-License-Identifier: Apache-2.0
"""Declaring, reading and printing parameters that a dataclass such as ``live.settings.PredictorParameters`` describes.

``python -m dd_ros.ros.parameters yaml`` prints ``config/predictor.yaml``, ``table`` the table of the documentation.
"""

from __future__ import annotations

import sys
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from dd_ros.live.settings import PredictorParameters

if TYPE_CHECKING:
    from rclpy.node import Node

T = TypeVar("T")


def declare(node: Node, kind: type[T]) -> T:
    """Declare all parameters of ``kind`` on ``node`` and return their values."""
    for item in fields(kind):  # type: ignore[arg-type]
        node.declare_parameter(item.name, item.default, _descriptor(item))
    return read(node, kind)


def read(node: Node, kind: type[T]) -> T:
    """Values that ``node`` has now."""
    return kind(**{item.name: node.get_parameter(item.name).value for item in fields(kind)})  # type: ignore[arg-type]


def _descriptor(item: Field[Any]) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    details = item.metadata
    descriptor = ParameterDescriptor(description=details["description"], read_only=details["read_only"])
    if details["choices"]:
        descriptor.additional_constraints = f"One of {', '.join(details['choices'])}."
    if details["limits"] and isinstance(item.default, float):
        low, high = details["limits"]
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif details["limits"] and isinstance(item.default, int):
        low, high = details["limits"]
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return str(list(value))
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )


def _notes(item: Field[Any]) -> list[str]:
    details = item.metadata
    notes = [", ".join(details["choices"])] if details["choices"] else []
    if details["limits"]:
        notes.append(f"{details['limits'][0]} to {details['limits'][1]}")
    return notes + (["fixed at start"] if details["read_only"] else [])


def as_yaml(kind: type, node_name: str) -> str:
    """Commented parameter file with the defaults, for a node of any namespace."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        f"# Parameters of the node {node_name} and their defaults.",
    ]
    lines += ["# Made by: python -m dd_ros.ros.parameters yaml", f"/**/{node_name}:", "  ros__parameters:"]
    for item in fields(kind):
        notes = _notes(item)
        lines.append(f"    # {item.metadata['description']}" + (f" ({'; '.join(notes)})" if notes else ""))
        lines.append(f"    {item.name}: {_value(item.default)}")
    return "\n".join(lines) + "\n"


def as_table(kind: type) -> str:
    """Markdown table of all parameters."""
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    for item in fields(kind):
        notes = _notes(item)
        text = item.metadata["description"] + (f" ({'; '.join(notes)})" if notes else "")
        rows.append(f"| `{item.name}` | `{_value(item.default)}` | {text} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(
        as_table(PredictorParameters)
        if sys.argv[1:] == ["table"]
        else as_yaml(PredictorParameters, "predictor"),
        end="",
    )
