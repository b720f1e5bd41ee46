"""Predictors made of predictors."""
