"""A Markdown report: what was measured where, with which versions, and when."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

NOT_INSTALLED = "not installed"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine(packages: Iterable[str]) -> str:
    """One line that says where and with what."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = (line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        cpu = {name.strip(): value.strip() for name, value in fields}.get("model name", cpu)
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    today = datetime.date.today().isoformat()
    return (
        f"{today} · {cpu}, {os.cpu_count()} cores, load {load:.1f} at the start · "
        f"Python {platform.python_version()}, {versions}"
    )


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


def write(path: Path, title: str, parts: Iterable[str]) -> None:
    text = "\n\n".join([f"# {title}", *parts]) + "\n"
    path.write_text(text, encoding="utf-8")
    print(text)
