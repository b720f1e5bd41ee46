"""Recipes: parts that were chosen to work together."""

from pladapt.recipes.bundle import Recipe, recipe

__all__ = [
    "Recipe",
    "recipe",
]
