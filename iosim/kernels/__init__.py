"""What answers: the kernels, which know the calls and no program.

`front` is the door to both kernels, `iosim.sim` and `linux`; what they share stands beside it.
Two more stand on the real one: `recorder` takes down plain socket code, `calibration` measures what
each step costs.
"""
