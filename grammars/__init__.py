"""Grammars of meta-responses: data only."""
