"""Profiles: TOML files, and the weights of `mini`."""
