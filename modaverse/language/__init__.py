"""The LLM side: prompts, model, projectors and decoding with splices."""

from __future__ import annotations
