"""What stands between a bundle and a line that runs for a year: log, monitor, challenge."""
