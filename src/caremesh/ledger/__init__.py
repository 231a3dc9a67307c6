"""The kernel: transactions, authenticated state, the machine that executes blocks, proofs, light client.

Deterministic: no clock, entropy, thread, float or file of its own; time is the block header's.
"""
