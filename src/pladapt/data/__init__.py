"""Samples: lazy views, batches of one shape, and checks for leakage."""
