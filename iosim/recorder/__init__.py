"""Plain socket code, taken down: what runs is the reader's own, and the trace is a `Timeline`."""
