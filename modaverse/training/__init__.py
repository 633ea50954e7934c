"""LoRA training on meta-response data."""
