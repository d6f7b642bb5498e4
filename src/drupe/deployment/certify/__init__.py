"""Anyone's classifier in an ONNX file: read, wrapped into one graph that decides, and certified."""
