"""The grammar of the arguments: what it reads, what it refuses, and that it survives anything."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import RequestError
from ovms_converter.optimizer import syntax
from ovms_converter.optimizer.values import (
    ChannelValues,
    Dimension,
    Frozen,
    InputEntry,
    Layout,
    LayoutChange,
    Shape,
    Transformation,
    Value,
)

PARSERS: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "input_shape": syntax.parse_shapes,
    "input": syntax.parse_inputs,
    "freeze_placeholder_with_value": syntax.parse_frozen,
    "mean_values": lambda text: syntax.parse_channels(text, "mean_values"),
    "layout": lambda text: syntax.parse_layouts(text, "layout"),
    "transform": syntax.parse_transformations,
    "rename": syntax.parse_renames,
    "output": lambda text: syntax.parse_names(text, "output"),
}


def canonical(parameter: str, text: str) -> str:
    return ",".join(str(item) for item in PARSERS[parameter](text))


@pytest.mark.parametrize(
    ("parameter", "text", "expected"),
    [
        ("input_shape", "[1,3,224,224]", "[1,3,224,224]"),
        ("input_shape", "(1, 3 ,2,2), [ 1 6 ]", "[1,3,2,2],[1,6]"),
        ("input_shape", "[?,-1,1..10,..5,3..,4..4]", "[?,?,1..10,..5,3..,4]"),
        ("input_shape", "[]", "[]"),
        ("input", "data", "data"),
        ("input", "0:node[3 4],node:1[2]{i32}->[20 15]", "0:node[3,4],node:1[2]{i32}->[20 15]"),
        ("input", "x{f32}[1, 2] , flag -> True", "x[1,2]{f32},flag->True"),
        ("input", "[1 3 2 2],[1,6]{bool}", "[1,3,2,2],[1,6]{boolean}"),
        ("freeze_placeholder_with_value", "a->1,b->[1.5 -2],c->false", "a->1,b->[1.5 -2],c->False"),
        ("freeze_placeholder_with_value", "a->[1, 2]", "a->[1 2]"),
        ("mean_values", "data(1,2,3),other[.5]", "data[1.0,2.0,3.0],other[0.5]"),
        ("mean_values", "[123.675, 116.28, 1e2]", "[123.675,116.28,100.0]"),
        ("layout", "nhwc", "[N,H,W,C]"),
        ("layout", "nhwc->nchw", "[N,H,W,C]->[N,C,H,W]"),
        ("layout", "nhwc->[n,c,h,w]", "[N,H,W,C]->[N,C,H,W]"),
        ("layout", "in(nhwc->nchw),out[n,c]", "in([N,H,W,C]->[N,C,H,W]),out([N,C])"),
        ("layout", "x[n,h]->[h,n]", "x([N,H]->[H,N])"),
        ("layout", "x(?n?),y(n...c),z(->nc)", "x([?,N,?]),y([N,...,C]),z(->[N,C])"),
        ("transform", "LowLatency2,Pruning", "LowLatency2,Pruning"),
        ("transform", "LowLatency2[use_const_initializer=False]", "LowLatency2[use_const_initializer=False]"),
        (
            "transform",
            "MakeStateful[param_res_names={'a;]': 'b'}]",
            "MakeStateful[param_res_names={'a;]': 'b'}]",
        ),
        ("output", "a, b:0", "a,b:0"),
    ],
)
def test_reads_what_model_optimizer_read(parameter: str, text: str, expected: str) -> None:
    assert canonical(parameter, text) == expected


@pytest.mark.parametrize(
    ("parameter", "text", "told"),
    [
        ("input_shape", "[1,3,16", "lacks a `]` at its end"),
        ("input_shape", "1,3", "brackets"),
        ("input_shape", "[1,,3]", "nothing between two commas"),
        ("input_shape", "[1,-2]", "`-2` is no dimension"),
        ("input_shape", "[...]", "`...` is no dimension"),
        ("input_shape", "[5..3]", "ends before it begins"),
        ("input_shape", "[1]x", "`x` is too much"),
        ("input_shape", "[٣]", "is no dimension"),
        ("input", "x[1][2]", "two shapes"),
        ("input", "x{f31}", "no type `f31`"),
        ("input", "x{f32", "lacks a `}`"),
        ("input", "a,[1]", "either every entry has a name or none"),
        ("input", "x,x", "`x` occurs twice"),
        ("input", "x->1->2", "is no number"),
        ("input", "a,,b", "a name is missing"),
        ("freeze_placeholder_with_value", "flag", "lacks `->`"),
        ("freeze_placeholder_with_value", "flag->", "a number is missing"),
        ("freeze_placeholder_with_value", "flag->maybe", "`maybe` is no number"),
        ("mean_values", "[a,b,c]", "`a` is no number"),
        ("mean_values", "[1,nan]", "`nan` is no number"),
        ("mean_values", "[1,2", "lacks a `]`"),
        ("mean_values", "1,2,3", "stand in brackets"),
        ("mean_values", "a[1,2,3],[4,5,6]", "has the name of its input or none"),
        ("layout", "nhwc,", "a layout is missing"),
        ("layout", "nh$c", "`$` is no dimension"),
        ("layout", "x(nhwc", "lacks a `)`"),
        ("layout", "nhwn", "`N` occurs twice"),
        ("layout", "a(nc),nhwc", "or none has"),
        ("transform", "LowLatency3", "no transformation `LowLatency3`"),
        ("transform", "LowLatency2[use_const=True]", "no argument `use_const`"),
        ("transform", "LowLatency2[use_const_initializer=7]", "takes `True` or `False`"),
        ("transform", "MakeStateful", "needs its argument"),
        ("transform", "MakeStateful[param_res_names=__import__('os')]", "it takes names"),
        ("rename", "a", "the form `old=new`"),
        ("rename", "a=b,c=b", "`b` occurs twice"),
        ("output", "a,,b", "a name is missing"),
    ],
)
def test_refuses_in_the_words_of_the_parameter(parameter: str, text: str, told: str) -> None:
    with pytest.raises(RequestError) as caught:
        PARSERS[parameter](text)

    assert told in caught.value.message
    assert f"`{parameter}` is `{text}`" in caught.value.message
    assert caught.value.parameter == parameter
    assert caught.value.hint


@pytest.mark.parametrize("parameter", ["source_layout", "target_layout"])
def test_an_arrow_belongs_into_layout(parameter: str) -> None:
    with pytest.raises(RequestError, match="belongs into `layout`"):
        syntax.parse_layouts("nhwc->nchw", parameter)


@pytest.mark.parametrize("text", ["true", "TRUE", "Yes", "on", "1"])
def test_every_spelling_of_yes(text: str) -> None:
    assert syntax.parse_flag(text, "static_shape") is True


@pytest.mark.parametrize("text", ["false", "False", "NO", "off", "0"])
def test_every_spelling_of_no(text: str) -> None:
    assert syntax.parse_flag(text, "static_shape") is False


@pytest.mark.parametrize("text", ["maybe", "2", "tru", "nein"])
def test_any_other_flag_is_refused_by_name(text: str) -> None:
    with pytest.raises(RequestError, match="`static_shape` is"):
        syntax.parse_flag(text, "static_shape")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "one", "²", "9" * 30])
def test_a_batch_is_a_whole_number_above_zero(text: str) -> None:
    with pytest.raises(RequestError, match="whole number above 0"):
        syntax.parse_positive(text, "batch")


name = st.text(
    st.characters(codec="utf-8", exclude_characters="[](){},=;'\"", exclude_categories=("Cc", "Cs", "Z")),
    min_size=1,
    max_size=8,
).filter(lambda text: "->" not in text)
sizes = st.integers(0, 2**40)
dimension = st.one_of(
    sizes.map(lambda size: Dimension(size, size)),
    st.builds(Dimension, sizes),
    st.tuples(sizes, sizes).map(lambda pair: Dimension(min(pair), max(pair))),
)
shape = st.builds(Shape, st.lists(dimension, max_size=4).map(tuple))
number = st.floats(allow_nan=False, allow_infinity=False)
scalar = st.one_of(st.booleans(), st.integers(-(10**18), 10**18), number)
constant = st.one_of(
    st.builds(Value, st.tuples(scalar), st.just(False)),
    st.builds(Value, st.lists(scalar, max_size=3).map(tuple), st.just(True)),
)
letters = st.lists(st.sampled_from("NCHWDTX"), unique=True, min_size=1, max_size=4).map(tuple)
layout = st.one_of(st.builds(Layout, letters), st.just(Layout(("N", "...", "?"))))
change = st.one_of(
    st.builds(LayoutChange, name, layout, st.none() | layout),
    st.builds(LayoutChange, name, st.none(), layout),
)
kind = st.none() | st.sampled_from(["f32", "i64", "boolean", "u8"])


def distinct(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, min_size=1, max_size=4, unique_by=lambda item: item.name).map(tuple)


@pytest.mark.parametrize(
    ("parameter", "items"),
    [
        ("input_shape", st.lists(shape, min_size=1, max_size=3).map(tuple)),
        ("input", distinct(st.builds(InputEntry, name, st.none() | shape, kind, st.none() | constant))),
        ("freeze_placeholder_with_value", distinct(st.builds(Frozen, name, constant))),
        (
            "mean_values",
            distinct(st.builds(ChannelValues, name, st.lists(number, min_size=1, max_size=4).map(tuple))),
        ),
        ("layout", distinct(change)),
        (
            "transform",
            st.just(
                (
                    Transformation("LowLatency2", (("use_const_initializer", True),)),
                    Transformation("MakeStateful", (("param_res_names", (("a'b", 'c"]'), ("d", "e;"))),)),
                )
            ),
        ),
    ],
)
def test_reads_back_what_it_prints(parameter: str, items: st.SearchStrategy[tuple[Any, ...]]) -> None:
    @given(items)
    def check(values: tuple[Any, ...]) -> None:
        assert PARSERS[parameter](",".join(map(str, values))) == values

    check()


@pytest.mark.parametrize("parameter", PARSERS)
def test_reads_any_text_or_refuses_it(parameter: str) -> None:
    @given(st.text() | st.text(st.sampled_from("ab[](){}<>-,.?:;=\"' 019eEfN\\")))
    def check(text: str) -> None:
        try:
            found = PARSERS[parameter](text)
        except RequestError:
            return
        if parameter != "rename":
            assert PARSERS[parameter](",".join(map(str, found))) == found

    check()
