"""Ray: the passes over images on the machines of a cluster."""

from pladapt.ray.engine import RayEngine

__all__ = ["RayEngine"]
