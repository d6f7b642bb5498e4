"""What makes two crops copies of one another."""
