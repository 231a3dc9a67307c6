"""CareMesh: a health-data exchange that patients control."""

__version__ = "0.1.0"
