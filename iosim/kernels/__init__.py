"""What answers: the kernels, which know the calls and no program.

`front` is the door to both kernels, `simulated` and `linux`; what they share stands beside it.
Three more stand on the real one: `recorder` takes down plain socket code, `witness` tells a run as
strace(1) sees it, `calibration` measures what each step costs.
"""
