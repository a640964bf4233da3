"""What each step costs on this machine."""
