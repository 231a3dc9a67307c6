"""The cometbft engine: organisations that do not trust each other order blocks together. Read ``engine.py`` first."""
