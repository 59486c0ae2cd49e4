"""What runs inside the Triton server: the Python models and what they share.

`sam3-agent package` copies this room, and the few files of `sam3` it leans on, into the model repository, so that a
packaged version is complete. Nothing here needs PyTorch; `triton_python_backend_utils` is given by the server.

    client -> sam3 (whole_model) -> sam3_image_encoder and the other parts (graph_model, ONNX or TensorRT)
    client -> sam3_video (video_model) -> the same, with one state per stream

On a CPU the last two run small parts in their own process instead (own_parts).
"""
