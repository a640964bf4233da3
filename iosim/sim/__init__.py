"""The simulated kernel, by mechanism.

`scheduler` has time and the cores, `kernel` the programs and their calls; each of the others has
the calls of one mechanism, whose text reads like their manual pages.
"""
