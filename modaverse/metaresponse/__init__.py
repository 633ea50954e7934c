"""The language of meta-responses: one grammar, a streaming parser and a token mask."""
