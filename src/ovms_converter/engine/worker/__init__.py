"""The side of the child process: the only code, with the model side of `optimizer`, that imports openvino.

`python -m ovms_converter.engine.worker` is the one way to start it; nothing else imports this package.
"""
