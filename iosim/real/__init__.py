"""The real kernel: the same calls, made on this machine's over connections on 127.0.0.1."""
