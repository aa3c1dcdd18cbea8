"""A location where nothing is: the error names what is near it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ovms_converter.errors import NotFoundError
from ovms_converter.lint import lint
from ovms_converter.repository.finding import find_version
from ovms_converter.storage import open_source
from ovms_converter.storage.location import Location
from ovms_converter.storage.nearby import CHECK, beside
from servers import S3Bucket


def hint_of(place: str, environ: dict[str, str]) -> str:
    with pytest.raises(NotFoundError) as caught:
        open_source(Location.parse(place), environ).list()
    assert caught.value.hint
    return caught.value.hint


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models" / "resnet50").mkdir(parents=True)
    (tmp_path / "models" / "resnet50" / "net.onnx").write_bytes(b"x")
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("resnet5", "resnet50"),
        ("ResNet50", "resnet50"),
        ("resnet50/net.onx", "resnet50/net.onnx"),
        ("resnt50/net.onnx", "resnet50/net.onnx"),
        ("resnt50/other", "resnet50"),
        ("resnet50/net.onnx/1", "resnet50/net.onnx"),
    ],
)
def test_a_path_that_is_not_there_names_the_nearest_that_is(models: Path, given: str, meant: str) -> None:
    assert hint_of(str(models / given), {}) == f"did you mean `{models / meant}`?"


def test_where_nothing_is_near_the_deepest_directory_is_named(models: Path) -> None:
    hint = hint_of(str(models / "quite" / "different"), {})
    assert hint == f"`{models}` is there, without `quite`: `ls {models}` shows what is"


def test_a_relative_path_stays_relative(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models.parent)
    assert hint_of("modles/resnet50", {}) == "did you mean `models/resnet50`?"
    assert hint_of("./models/bert", {}) == "`models` is there, without `bert`: `ls models` shows what is"


@pytest.mark.parametrize("look", [lint, find_version])
def test_a_repository_that_is_not_there_names_the_nearest_that_is(
    look: Callable[..., object], models: Path
) -> None:
    with pytest.raises(NotFoundError) as caught:
        look(str(models / "resnet"), environ={})
    assert caught.value.hint == f"did you mean `{models / 'resnet50'}`?"


def test_names_that_would_not_print_are_not_offered(tmp_path: Path) -> None:
    (tmp_path / "model\x1b[2J").mkdir()
    assert "\x1b" not in hint_of(str(tmp_path / "model"), {})
    assert beside("model", ["model\x1b[2J", "mo`del"], "s3://b") == CHECK


def test_a_prefix_that_is_not_there_names_the_nearest_that_is(s3: S3Bucket) -> None:
    for key in ("models/resnet50/net.onnx", "models/bert/net.onnx"):
        s3.put(key, b"x")
    assert hint_of(s3.url("models/resnet5"), s3.environ()) == f"did you mean `{s3.url('models/resnet50')}`?"
    hint = hint_of(s3.url("models/zzz"), s3.environ())
    assert hint == f"`{s3.url('models')}` holds `bert`, `resnet50`"
    assert hint_of(s3.url("nowhere/at/all"), s3.environ()) == CHECK
