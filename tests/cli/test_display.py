"""What is seen while a conversion runs."""

import io
import re
import time

import pytest

from command_line import CommandLine, FakePipeline, Terminal
from ovms_converter.errors import VerificationError
from ovms_converter.events import Note, Stage, StageFinished, StageProgress, StageStarted, StageTotal
from ovms_converter.units import duration, rate, size

RUN = ("convert", "s3://b/m", "s3://b/o")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
ESCAPE = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


def last_screen(text: str) -> list[str]:
    """What is left on the screen: the live table is drawn several times, and the last drawing stays."""
    return [line.rstrip() for line in ESCAPE.sub("", text).replace("\r", "").splitlines()]


def test_a_terminal_shows_a_row_for_each_stage(command: CommandLine, fake: FakePipeline) -> None:
    command.terminal = True
    fake.notes = ("careful",)
    finished = command(*RUN)
    screen = last_screen(finished.err)
    assert any(re.fullmatch(r"[✓*] fetch .* 2\.00 MB +4\.00 MB/s +0\.50 s", line) for line in screen)
    assert any(re.fullmatch(r"[✓*] convert +1\.25 s", line) for line in screen)
    assert "warning: careful" in screen
    assert "result    version 3 (new)" in screen
    assert not [line for line in screen if line.startswith("url ")]
    assert finished.out == "s3://b/o\n"
    assert COLOUR.search(finished.err)


def test_the_stage_that_failed_is_marked(command: CommandLine, fake: FakePipeline) -> None:
    command.terminal = True
    fake.error = VerificationError("the outputs differ")
    screen = last_screen(command(*RUN).err)
    assert any(re.match(r"[✗x] fetch .* 1\.00 MB / 2\.00 MB", line) for line in screen)
    assert screen[-1] == "error: the outputs differ"


def test_no_color_means_no_colour(command: CommandLine, fake: FakePipeline) -> None:
    command.terminal = True
    fake.notes = ("careful",)
    for error in (None, VerificationError("the outputs differ", hint="look")):
        fake.error = error
        assert not COLOUR.search(command(*RUN, NO_COLOR="1").err)


@pytest.mark.parametrize("words", [["-q"], ["--log-level", "ERROR"], ["--log-format", "json"]])
def test_less_than_that_draws_nothing(words: list[str], command: CommandLine, fake: FakePipeline) -> None:
    command.terminal = True
    assert "\033" not in command(*RUN, *words).err


def test_a_dumb_terminal_gets_lines(command: CommandLine, fake: FakePipeline) -> None:
    command.terminal = True
    finished = command(*RUN, TERM="dumb")
    assert "\033" not in finished.err
    assert finished.err.startswith("fetch ")


def test_a_narrow_terminal_still_shows_all_stages(
    command: CommandLine, fake: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.terminal = True
    monkeypatch.setenv("COLUMNS", "40")
    fake.error = VerificationError("x")
    screen = last_screen(command(*RUN).err)
    assert any(re.fullmatch(r"[✗x] fetch +50% +[0-9.]+ s", line) for line in screen)


def test_a_stage_that_takes_long_is_told_about_again_and_again() -> None:
    from ovms_converter.cli.display import LineDisplay
    from ovms_converter.cli.output import Output

    stream = io.StringIO()
    with LineDisplay(Output({}, stderr=stream), heartbeat_seconds=0.01) as display:
        display(StageStarted(Stage.FETCH, "s3://b/m", 4_000_000))
        display(StageProgress(Stage.FETCH, 1_000_000))
        deadline = time.monotonic() + 30
        while stream.getvalue().count("so far") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        display(StageFinished(Stage.FETCH, 1.0, 4_000_000))
    first, second, *_ = stream.getvalue().splitlines()
    assert re.fullmatch(r"fetch: [0-9.]+ s so far, 1\.00 MB of 4\.00 MB \(25 %\)(, .*B/s)?", first)
    assert second.startswith("fetch: ")


def test_a_total_that_grows_counts_from_then_on() -> None:
    from ovms_converter.cli.display import LineDisplay
    from ovms_converter.cli.output import Output

    stream = io.StringIO()
    with LineDisplay(Output({}, stderr=stream), heartbeat_seconds=0.01) as display:
        display(StageStarted(Stage.FETCH, "s3://b/m", 1_000))
        display(StageTotal(Stage.FETCH, 4_000_000))
        display(StageProgress(Stage.FETCH, 1_000_000))
        deadline = time.monotonic() + 30
        while "so far" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "1.00 MB of 4.00 MB (25 %)" in stream.getvalue()


def test_a_total_that_grows_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from ovms_converter.cli.live import LiveDisplay
    from ovms_converter.cli.output import Output

    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with LiveDisplay(Output({"TERM": "xterm"}, stderr=stream)) as display:
        display(StageTotal(Stage.FETCH, 4))
        display(StageStarted(Stage.FETCH, "s3://b/m", 1_000))
        display(StageTotal(Stage.FETCH, 4_000_000))
        display(StageProgress(Stage.FETCH, 1_000_000))
    assert any("1.00 MB / 4.00 MB" in line for line in last_screen(stream.getvalue()))


def test_read_in_place_is_told() -> None:
    from ovms_converter.cli.display import LineDisplay
    from ovms_converter.cli.live import LiveDisplay
    from ovms_converter.cli.output import Output

    lines, screen = io.StringIO(), Terminal()
    with LineDisplay(Output({}, stderr=lines)) as line_display:
        line_display(StageFinished(Stage.FETCH, 0.01, 0, "/models/m", in_place=True))
    with LiveDisplay(Output({"TERM": "xterm"}, stderr=screen)) as live_display:
        live_display(StageFinished(Stage.FETCH, 0.01, 0, "/models/m", in_place=True))
    assert re.fullmatch(r"fetch +0\.01 s  read in place  /models/m\n", lines.getvalue())
    assert any(re.fullmatch(r"[✓*] fetch +in place +0\.01 s", row) for row in last_screen(screen.getvalue()))


def test_notes_go_above_the_table_and_lose_their_secrets(command: CommandLine, fake: FakePipeline) -> None:
    command.terminal = True
    fake.notes = ("see https://user:hunter2hunter2@host/path",)
    assert "hunter2hunter2" not in command(*RUN).err


@pytest.mark.parametrize("columns", [40, 60, 72, 80, 200])
def test_no_cell_is_cut_short(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from ovms_converter.cli.live import LiveDisplay
    from ovms_converter.cli.output import Output

    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    with LiveDisplay(Output({"TERM": "xterm"}, stderr=stream)) as display:
        display(StageStarted(Stage.FETCH, "s3://b/m", 123_000_000_000))
        display(StageProgress(Stage.FETCH, 45_600_000_000))
        display(StageFinished(Stage.RECOGNISE, 59 * 60 + 59))
        display(StageFinished(Stage.PUBLISH, 125.4, 123_000_000_000))
    screen = last_screen(stream.getvalue())
    assert "…" not in "".join(screen)
    assert any("59 min 59 s" in line for line in screen)
    assert any("2 min 05 s" in line and "123 GB" in line for line in screen)


def test_the_table_survives_a_stage_that_only_ends() -> None:
    from ovms_converter.cli.live import LiveDisplay
    from ovms_converter.cli.output import Output

    stream = Terminal()
    with LiveDisplay(Output({"TERM": "xterm"}, stderr=stream)) as display:
        display(StageFinished(Stage.VERIFY, 2.0))
        display(StageProgress(Stage.PUBLISH, 5))
        display(Note("info", "done [bold]really[/bold]"))
    screen = last_screen(stream.getvalue())
    assert "done [bold]really[/bold]" in screen
    assert any("verify" in line for line in screen)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9995, "10.0 kB"),
        (99_950, "100 kB"),
        (308_000, "308 kB"),
        (999_400, "999 kB"),
        (999_600, "1.00 MB"),
        (1_073_741_824, "1.07 GB"),
        (5_000_000_000_000_000, "5000 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (59.96, "1 min 00 s"),
        (125.4, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_rate_needs_time() -> None:
    assert rate(1000, 0.5) == "2.00 kB/s"
    assert rate(1000, 0.04) == ""
