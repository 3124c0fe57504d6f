"""Deterministic, sharded datasets from unlabelled sources."""
