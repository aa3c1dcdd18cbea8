"""Model Optimizer's parameters: their syntax (text to values) and their meaning (on an openvino Model).

`syntax`, `values`, `arguments` and `command_line` import nothing but the standard library; `conversion` and
what it calls import openvino.
"""
