"""The recorder: plain socket code, taken down as a `Timeline`."""
