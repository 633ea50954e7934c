"""Checks that a wheel holds every file of the packages, and nothing else.

python .ci/check_wheel.py dist/modaverse-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Folder in the checkout, and its place in the wheel.
PACKAGES = {
    "modaverse": "modaverse",
    "generators": "modaverse/generators",
    "grammars": "modaverse/grammars",
    "profiles": "modaverse/profiles",
    "datasets/wordings": "modaverse/wordings",
}


def expected() -> set[str]:
    return {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def main(wheel: str) -> int:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    missing, extra = sorted(expected() - held), sorted(held - expected())
    for name in missing:
        print(f"missing: {name}")
    for name in extra:
        print(f"should not be there: {name}")
    if not licences:
        print("missing: the licence")
    print(f"{Path(wheel).name}: {len(held)} files, {Path(wheel).stat().st_size / 1e6:.1f} MB")
    return 1 if missing or extra or not licences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
