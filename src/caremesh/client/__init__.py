"""The typed client of a node: what ``/ledger/v1`` and ``/custody/v1`` answer, checked, or the error that they name."""
