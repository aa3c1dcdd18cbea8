"""The child process that owns openvino, and the client that drives it.

Importing this package imports neither openvino nor numpy; only `engine.worker`, which runs in the child,
does.
"""
