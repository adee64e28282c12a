"""Recipes: real models put into a repository with one call, for the demo and the tests.

A recipe may know a model's name and its package's layout; nothing else in the project does.
"""

from unpool.converters.recipes import efficientnet_lite0, hed_vgg16, imagenet_vgg16
from unpool.converters.recipes.recipe import Put, Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (imagenet_vgg16.RECIPE, efficientnet_lite0.RECIPE, hed_vgg16.RECIPE)
}
"""Every recipe by name."""

__all__ = ["RECIPES", "Recipe", "Put"]
