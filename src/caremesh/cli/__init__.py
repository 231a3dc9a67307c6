"""The command line: one file per command group. Everything heavy is imported inside the commands."""
