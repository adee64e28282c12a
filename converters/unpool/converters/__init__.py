"""Frameworks to ONNX."""
