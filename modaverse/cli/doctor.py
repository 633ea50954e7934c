"""`modaverse doctor`: whether this installation can do its work."""

from __future__ import annotations

import typer

from modaverse.cli.guard import guarded
from modaverse.cli.run import ProfileOption


@guarded
def doctor(profile: ProfileOption = "mini") -> None:
    """Check this installation: packages, devices, media, generators, a profile's files, memory and disk."""
    from modaverse.cli.checkup import findings

    well = True
    for finding in findings(profile):
        well = well and finding.well
        print(f"{'ok ' if finding.well else 'BAD'} {finding.what:<11} {finding.detail}", flush=True)
        if not finding.well and finding.hint:
            print(f"    {'':<11} {finding.hint}")
    if not well:
        raise typer.Exit(1)
