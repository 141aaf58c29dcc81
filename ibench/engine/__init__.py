"""Jobs to embeddings: what to encode, the stream that encodes it, and the store that keeps it."""
