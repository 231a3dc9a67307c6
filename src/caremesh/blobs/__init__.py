"""Ciphertext by CID: interface and adapters."""
