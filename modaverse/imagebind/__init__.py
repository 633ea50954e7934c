"""ImageBind, written afresh: network, preprocessing and tokenizer."""
