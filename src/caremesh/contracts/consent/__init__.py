"""What a subject allows: to whom, for what, from when to when."""
