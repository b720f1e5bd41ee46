"""Deep-learning frameworks; each module imports its own and asks for its extra if it is missing."""
