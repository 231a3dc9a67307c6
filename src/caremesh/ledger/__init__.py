"""The kernel: transactions, authenticated state, the machine that executes blocks, events, proofs, the light client.

Everything here is a function of its arguments and of the store: no clock, no entropy, no thread. Which
transactions exist and what they mean is the application's (``machine.Application``).
"""
