"""A person's own conversations: read, checked, counted, rendered, tokenized and cached."""
