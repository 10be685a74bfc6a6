"""What makes a run go on exactly, and found again: files, places, resuming, signals and logs."""
