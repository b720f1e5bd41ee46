"""The selectors that come with pladapt."""
