"""What runs: programs, which know the calls and no kernel."""
