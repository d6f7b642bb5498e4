"""From the line's pictures to labels: collected, looked at, and what they prove."""
