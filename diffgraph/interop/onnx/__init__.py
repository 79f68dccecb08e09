"""ONNX models as nets."""
