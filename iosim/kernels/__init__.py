"""What the two kernels, `iosim.sim` and `iosim.real`, share; they know the calls and no program."""
