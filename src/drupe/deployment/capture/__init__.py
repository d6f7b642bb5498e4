"""What the line keeps for people to look at: every review, and a random sample of the rest."""
