"""Generator cards and the diffusers adapter."""
