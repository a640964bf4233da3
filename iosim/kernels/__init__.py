"""What answers: the kernels, which know the calls and no program."""
