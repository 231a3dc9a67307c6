"""Hashes and signatures (consensus code may use these); keys, envelopes, re-encryption (it may not)."""
