"""Toybox: a small procedural world with known truth, and the recipes that train `mini` on it."""
