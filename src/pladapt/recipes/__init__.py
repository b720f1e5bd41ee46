"""Recipes: parts that were chosen to work together."""
