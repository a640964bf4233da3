"""This machine's costs, measured on its own kernel: what makes a `Costs` that is no textbook's."""
