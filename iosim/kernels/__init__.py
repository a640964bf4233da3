"""What the two kernels, `iosim.sim` and `iosim.real`, share; they know the calls and no program.

Two more stand on the real one: `recorder` takes down plain socket code, `calibration` measures what
each step costs.
"""
