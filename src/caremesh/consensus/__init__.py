"""Who orders transactions: one interface, and its engines."""
