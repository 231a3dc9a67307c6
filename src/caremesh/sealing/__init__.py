"""Records to sealed segments and back: pure, and the one way that health data leaves its source."""
