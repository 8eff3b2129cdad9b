"""A trained network in other forms: batch norms folded away, an ONNX file, engines that only predict."""
