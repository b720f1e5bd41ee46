"""What can be told of a target without its labels: comparisons, and gates that refuse harm."""
