"""How a pipeline is run, by the names that cards use: functions of one signature.

RUNNERS  (pipeline, arguments) ─► the pipeline's output
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def call(pipeline: Any, arguments: dict[str, Any]) -> Any:
    """One call."""
    return pipeline(**arguments)


def invert(pipeline: Any, arguments: dict[str, Any]) -> Any:
    """LEdits++ (arXiv 2311.16711): find the noise that the source comes from, then sample with the edit.

    Each argument goes to `invert`, to the call, or to both, as their signatures say.
    """
    first = inspect.signature(pipeline.invert).parameters
    second = inspect.signature(pipeline.__call__).parameters
    pipeline.invert(**{name: value for name, value in arguments.items() if name in first})
    return pipeline(**{name: value for name, value in arguments.items() if name in second})


RUNNERS: Mapping[str, Callable[[Any, dict[str, Any]], Any]] = {"call": call, "invert": invert}
