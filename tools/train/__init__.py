"""A short trainer of YOLOv6-like detectors, written from the papers."""
