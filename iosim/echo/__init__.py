"""Echo servers on `selectors`: the notes', which any client can stop, and one that survives."""
