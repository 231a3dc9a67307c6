"""Segments: what a stream holds, as hashes."""
