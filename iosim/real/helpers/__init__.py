"""The processes beside the program's: what each of them runs, with `python -m`."""
