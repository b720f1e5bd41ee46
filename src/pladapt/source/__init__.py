"""What the source is like, and images made to look like it."""
