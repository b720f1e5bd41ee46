"""The evaluators that come with pladapt."""
