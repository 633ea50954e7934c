"""Rows of training data from what people have: other formats, and media with captions.

    instructions.json, LLaVA's JSON ───────────────────────► formats.convert ─┐
    COCO captions, CSV, WebDataset tars ─► captions, tars ─► building.build ──┴─► rows.jsonl
                                             wordings, or an endpoint ─┘

What cannot be used is named by its place in the file ("instructions.json: entry 7"); the rest is still read.
"""

from __future__ import annotations
