"""Bundles as they are served: loaded, run by ONNX Runtime, and put to work on inputs of any size."""
