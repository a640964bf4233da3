"""The simulated kernel: it answers the calls of programs in virtual nanoseconds."""
