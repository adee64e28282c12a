"""Recipes: real models put into a repository, data for the demo and the tests."""
