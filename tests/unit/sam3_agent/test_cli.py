"""The command line: fast help, one line for an error a person can mend, 2 for a wrong option."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
import typer

from sam3.errors import BadInput
from sam3_agent import cli


def verb_for_tests(
    name: str = typer.Argument(help="Whom to greet."), times: int = typer.Option(2, help="How often.", min=1)
) -> None:
    """Greet somebody."""
    if name == "nobody":
        raise BadInput("nobody: not a name.\nGive another one.")
    if name == "bug":
        raise ZeroDivisionError("a bug")
    if name == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "out/x.json")
    if name == "interrupt":
        raise KeyboardInterrupt
    print(f"hello {name} " * times)


@pytest.fixture(autouse=True)
def _one_more_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.VERBS, "greet", (f"{__name__}:verb_for_tests", "Greet somebody."))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setenv("SAM3_AGENT_DEBUG", "")  # set, so that what --debug sets is undone


def status(*argv: str) -> object:
    with pytest.raises(SystemExit) as end:
        cli.main(list(argv))
    return end.value.code


def test_help_lists_every_verb_and_imports_none(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setitem(cli.VERBS, "broken", ("no.such.module:verb", "Cannot even be imported."))
    assert status("--help") == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in cli.VERBS)


def test_help_of_a_verb_shows_options_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("greet", "--help") == 0
    out = capsys.readouterr().out
    assert "Usage: sam3-agent greet [OPTIONS]" in out
    assert "[default: 2;" in out


def test_an_error_a_person_can_mend_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("greet", "nobody") == 1
    assert capsys.readouterr().err == "error: nobody: not a name. Give another one.\n"


def test_debug_shows_the_trace() -> None:
    with pytest.raises(BadInput):
        cli.main(["--debug", "greet", "nobody"])


def test_a_bug_keeps_its_trace() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.main(["greet", "bug"])


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("greet", "interrupt") == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["grete"], "no verb 'grete'. Did you mean 'greet'?"),
        (["zzz"], "no verb 'zzz'."),
        (["greet"], "Missing argument 'name'"),
        (["greet", "you", "--times", "0"], "'--times'"),
        (["greet", "you", "--tims", "1"], "--tims"),
    ],
)
def test_wrong_usage_exits_with_2(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*argv) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_every_verb_in_the_table_can_be_imported() -> None:
    """Each verb's --help works, so a misspelt `module:function` is found here and not by a user."""
    for verb in cli.VERBS:
        assert status(verb, "--help") == 0


def test_help_needs_no_heavy_library() -> None:
    script = (
        "import sys; from sam3_agent import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'cv2', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_a_full_disk_is_one_line_wherever_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("greet", "full") == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: out/x.json: cannot be used (No space left on device)")
    assert len(printed.err.strip().splitlines()) == 1
