"""ModaVerse: an agent-style any-to-any multimodal system."""
