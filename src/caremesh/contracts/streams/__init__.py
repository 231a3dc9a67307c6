"""Streams: self-certifying keys, and all that the ledger ever sees of a subject."""
