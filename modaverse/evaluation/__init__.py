"""How good a profile is on rows of data: does it call what the row calls, and with such words?

    rows ─► cases, one for each answer ─┬─► answered anew ─► calls and words, against the row's ─┐
                                        └─► read as in training ─► tokens it would have chosen ──┴─► tallies
                                                                                                       │
                         tables, plots, two runs side by side ◄── estimates by direction ◄─────────────┘

No generator runs: where the row has a medium behind a call, that one is spliced. (How good mini is with its
generators, on Toybox's requests, is measured by `modaverse.toybox.evaluation`.)
"""

from __future__ import annotations
