"""Scores, rules and labels, and the selectors that join them."""
