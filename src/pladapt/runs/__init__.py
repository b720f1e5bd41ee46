"""Adaptation: the loop over rounds, the run folder, and the records read from it."""
