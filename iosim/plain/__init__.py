"""Ordinary Python as a program: functions that use `socket`, `selectors`, `threading`, `asyncio`.

On the simulated kernel the lowest modules (`_socket`, `select`, `_thread`, `time`, `_signal`, `os`)
are simulated for one run; what stands on them is the library's own text, executed anew on that
floor.  Nothing is patched for anybody else.
"""
