"""The LLM side: prompts, model, projectors and decoding with splices."""
