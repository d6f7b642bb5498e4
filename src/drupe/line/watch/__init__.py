"""What watches a line for a year: anytime-valid tests of drift and recall, counters, alarms."""
