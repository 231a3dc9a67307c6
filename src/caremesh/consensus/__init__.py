"""Who orders transactions: one interface, several engines."""
