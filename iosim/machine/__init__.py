"""What this machine says of itself: its cores, its processes, what a run left open."""
