"""Regulations as code: which Cedar policy sets are in force, and what they say."""
