"""How good mini is: the table of measures, over wordings and combinations that no training saw.

    cases (seeded) ─► requests, in batches ─► answers, media ─► judge, reading of the words ─► marks
                                                                                                 │
                    table with 95 % intervals ◄── rows ◄── outcomes.jsonl, which a killed run goes on from

`row.Row` is one row of the table, `table.ROWS` are all of them, `measuring.measure` runs them.
"""

from __future__ import annotations
