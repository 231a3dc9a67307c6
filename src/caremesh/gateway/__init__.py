"""The recipient's side: ask the ledger, gather from custodians, open, in memory only."""
