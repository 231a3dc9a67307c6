"""A custodian holds fragments and seals, and re-encrypts only against a receipt that its own ledger copy bears out."""
