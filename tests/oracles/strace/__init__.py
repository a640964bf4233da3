"""The witness: the same run as strace(1) sees it, in another process."""
