"""The grammar of Model Optimizer's arguments, as 2021.4 and 2024.6 accept them.

    shapes     = shape { "," shape }
    shape      = "[" [ dimension { space dimension } ] "]"           also in round brackets
    dimension  = integer | "?" | "-1" | [ integer ] ".." [ integer ]
    inputs     = entry { "," entry }
    entry      = [ name ] { shape | "{" type "}" } [ "->" value ]
    frozen     = name "->" value { "," name "->" value }
    value      = scalar | "[" [ scalar { space scalar } ] "]"
    scalar     = number | "true" | "false"
    channels   = name list { "," name list }  |  list { "," list }
    list       = "[" number { "," number } "]"                       also in round brackets
    layouts    = item { "," item }
    item       = [ name ] "(" change ")"  |  [ name ] bracketed [ "->" layout ]  |  change
    change     = [ layout ] [ "->" layout ]
    layout     = letters | bracketed
    bracketed  = "[" letter-or-word { "," letter-or-word } "]"       "?" any, "..." any number
    transforms = word [ "[" word "=" literal { ";" word "=" literal } "]" ] { "," … }
    renames    = name "=" name { "," name "=" name }
    names      = name { "," name }

`space` is white space, a comma, or both. A `name` is anything without brackets, commas and `->`; white space
around it does not count. Every function reads a whole text, or raises `RequestError` in the words of the
parameter.
"""

from ovms_converter.optimizer.syntax.inputs import parse_channels, parse_frozen, parse_inputs, parse_shapes
from ovms_converter.optimizer.syntax.layouts import parse_layouts
from ovms_converter.optimizer.syntax.transformations import parse_transformations
from ovms_converter.optimizer.syntax.words import (
    parse_flag,
    parse_names,
    parse_number,
    parse_positive,
    parse_renames,
)

__all__ = [
    "parse_channels",
    "parse_flag",
    "parse_frozen",
    "parse_inputs",
    "parse_layouts",
    "parse_names",
    "parse_number",
    "parse_positive",
    "parse_renames",
    "parse_shapes",
    "parse_transformations",
]
