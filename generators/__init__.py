"""Generators: one TOML card each, and the code that turns a card into something that runs.

Reading a card (`modaverse.generators.card`) needs no torch; only running one does.
"""
