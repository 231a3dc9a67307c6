"""A mesh in one process, with a clock that can be set: for demos, and for users' own tests."""
