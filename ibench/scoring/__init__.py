"""Embeddings to outcomes per sample to metrics with intervals, one module per kind of task."""
