# The runner of documented commands has to notice what it is there for; and the Chinese documents keep up with the English ones.
import importlib.util
import sys

import pytest
from conftest import ROOT

RUNNER = ROOT / "tests" / "commands.py"

# Loaded under a name of its own: before Python 3.13 the standard library still had a module `commands` in some heads.
spec = importlib.util.spec_from_file_location("documented_commands", RUNNER)
documented_commands = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = documented_commands
spec.loader.exec_module(documented_commands)


@pytest.fixture
def runner(run, proxy, tmp_path):
    """Runs one document; returns exit code and output."""

    def runs(text):
        file = tmp_path / "page.md"
        file.write_text(text, encoding="utf-8")
        done = run(sys.executable, RUNNER, proxy.url, file)
        return done.returncode, done.stdout + done.stderr

    return runs


def page(script, *notes, language="bash"):
    comments = "".join(f"<!-- {note} -->\n" for note in notes)
    return f"# Page\n\n{comments}```{language}\n{script}\n```\n"


CURL = 'curl -s http://127.0.0.1:3000/v1/models -H "Authorization: Bearer {token}"'


def test_the_documented_address_and_token_are_replaced(runner, proxy):
    assert runner(page(CURL.format(token="your-token"), "shows: gpt-4o"))[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (page("false"), "exit 1 instead of 0"),
        (page("false | true"), "exit 1 instead of 0"),
        (page("false\ntrue"), "exit 1 instead of 0"),
        (page("true", "expect: exit 1"), "exit 0 instead of 1"),
        (page("echo one", "shows: two"), "does not show 'two'"),
        (page(CURL.format(token="wrong")), "error that nothing announces"),
        (page("exit 2", "expect: exit any"), "neither healthy"),
        (page("true", "stop after: 5s"), "ended by itself"),
        (page("$ echo one\none\n$ false", language="console"), "exit 1 instead of 0"),
    ],
)
def test_a_command_that_does_not_do_as_documented_fails(runner, text, words):
    code, said = runner(text)
    assert code == 1 and words in said, said


@pytest.mark.parametrize(
    "text",
    [
        page("true"),
        page("exit 3", "expect: exit 3"),
        page("exit 1", "expect: exit any"),
        page("echo one two", "shows: one", "shows: two"),
        page(CURL.format(token="wrong"), "shows: invalid_api_key"),
        page("exit 1", "not-run: needs a moon"),
        page("$ echo \\\n  one\none", "shows: one", language="console"),
        "1. In a list:\n\n   <!-- shows: two -->\n   ```bash\n   cat <<END\n   one\n   two\n   END\n   ```\n",
    ],
)
def test_a_command_that_does_as_documented_passes(runner, text):
    code, said = runner(text)
    assert code == 0, said


def test_a_command_that_runs_for_ever_gets_ctrl_c(runner):
    script = "trap 'echo stopped; exit 1' INT; while :; do sleep 0.05; done"
    code, said = runner(page(script, "stop after: 0.5s", "expect: exit 1", "shows: stopped"))
    assert code == 0, said


@pytest.mark.parametrize(
    "text",
    [
        page("true", "expects: exit 1"),
        page("true", "expect: exit"),
        page("true", "not-run:"),
        page("no prompt", language="console"),
        "```bash\ntrue\n",
        "no command at all\n",
        "```python\nprint()\n```\n",
    ],
)
def test_a_document_that_the_runner_cannot_read_is_refused(runner, text):
    assert runner(text)[0] == 2


def test_help_pages_are_searched_for_examples():
    clap = "Usage: x\n\nCommands:\n  serve       Run\n  hash-token  Digest\n  help        Help\n\nOptions:\n  -h  Help\n"
    assert documented_commands.subcommands(clap) == ["serve", "hash-token"]
    argparse = "usage: x [-h] {check,monitor} ...\n"
    assert documented_commands.subcommands(argparse) == ["check", "monitor"]


def test_the_examples_of_the_python_tool_are_found():
    tool = f"{sys.executable} examples/backend_health_checker.py"
    scripts = [block.script for block in documented_commands.help_examples(tool)]
    for form in ("check", "check --backends openai_official anthropic_claude", "check --streaming", "monitor --interval 60", "benchmark --rounds 3"):
        assert f"python3 examples/backend_health_checker.py {form}" in scripts


@pytest.mark.parametrize("name", ["README", "examples/backend_usage"])
def test_the_chinese_document_shows_the_same_commands_as_the_english_one(name):
    def commands(path):
        found = documented_commands.blocks(path.name, path.read_text(encoding="utf-8"))
        return [(block.script, block.exit, block.shows, bool(block.not_run)) for block in found]

    english = commands(ROOT / f"{name}.md")
    assert english and commands(ROOT / f"{name}.zh-CN.md") == english
