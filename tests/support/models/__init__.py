"""What the stateful models of the contracts share: a kernel in memory, plain facts, and how a step is judged."""
