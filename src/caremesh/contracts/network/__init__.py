"""Parameters, authorities, and the emergency brake."""
