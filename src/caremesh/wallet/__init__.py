"""A person's keys, and what they do with them: enrol, share, revoke, look who looked."""
