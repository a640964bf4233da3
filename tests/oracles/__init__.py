"""Others who saw the same: what a run is held against."""
