"""Recipes that train every part of `mini` from nothing."""
