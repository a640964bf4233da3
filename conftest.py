"""For the tests and for the notebooks: a third verdict, and digests in place of pictures."""

pytest_plugins = ["digests", "verdicts"]
