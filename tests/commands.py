#!/usr/bin/env python3
# Runs the commands of README, examples/*.md and the --help examples against a running proxy, so that no document can drift.
"""Usage: tests/commands.py [URL] [FILE.md ...]

Every ```bash block is one script; in a ```console block the lines after "$ " are. Each must exit 0 and must not answer with
an error object, unless HTML comments right above the block say otherwise:

    <!-- expect: exit 1 -->    another exit code; "exit any" for commands whose code depends on the moment
    <!-- shows: TEXT -->        the output contains TEXT (may repeat); an announced error object is no failure
    <!-- stop after: 3s -->     runs for ever: gets Ctrl-C after that time
    <!-- not-run: REASON -->    set-up that cannot run here

The documents say http://127.0.0.1:3000 and your-token; URL (or GREENROOM_URL) and GREENROOM_TOKEN take their place.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTED_URL = "http://127.0.0.1:3000"
DOCUMENTED_TOKEN = "your-token"
LIMIT = 180.0  # seconds for one block; generous, since benchmarks run several rounds on a shared machine
HELP_RUNS_FOR = 3.0  # seconds for a --help example that would run for ever

FENCE = re.compile(r"^(?P<indent>\s*)```(?P<language>\w*)\s*$")
COMMENT = re.compile(r"^\s*<!--\s*(?P<text>.*?)\s*-->\s*$")
ERROR_OBJECT = re.compile(r'^\s*\{\s*"error":\s*\{', re.MULTILINE)


class BadDocument(Exception):
    """A document that this runner cannot read as its author meant it."""


@dataclass
class Block:
    """One script of a document, and what is expected of it."""

    where: str
    script: str
    exit: "int | None" = 0  # None: any
    shows: list = field(default_factory=list)
    stop_after: "float | None" = None
    not_run: "str | None" = None

    def annotate(self, text):
        key, _, value = text.partition(":")
        key, value = key.strip(), value.strip()
        if key == "expect" and value == "exit any":
            self.exit = None
        elif key == "expect" and re.fullmatch(r"exit \d+", value):
            self.exit = int(value.split()[1])
        elif key == "shows" and value:
            self.shows.append(value)
        elif key == "stop after" and re.fullmatch(r"[\d.]+s", value):
            self.stop_after = float(value[:-1])
        elif key == "not-run" and value:
            self.not_run = value
        else:
            raise BadDocument(f"{self.where}: not an annotation that tests/commands.py knows: {text!r}")


def blocks(name, text):
    """The ```bash and ```console blocks of a Markdown text."""
    found, notes, lines = [], [], iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        comment, fence = COMMENT.match(line), FENCE.match(line)
        if comment:
            notes.append(comment["text"])
            continue
        if fence:
            indent, body = len(fence["indent"]), []
            for _, inner in lines:
                if inner.strip() == "```":
                    break
                body.append(inner[indent:] if not inner[:indent].strip() else inner)
            else:
                raise BadDocument(f"{name}:{number}: the block is not closed")
            if fence["language"] in ("bash", "console"):
                block = Block(f"{name}:{number}", "\n".join(body))
                for note in notes:
                    block.annotate(note)
                if fence["language"] == "console":
                    block.script = typed(block.where, body)
                found.append(block)
        if line.strip():
            notes = []
    return found


def typed(where, body):
    """What is typed in a console block: the lines after "$ ", with their continuations."""
    script, goes_on = [], False
    for line in body:
        if goes_on or line.startswith("$ "):
            script.append(line if goes_on else line[2:])
            goes_on = line.endswith("\\")
    if not script:
        raise BadDocument(f"{where}: a console block without a line that begins with '$ '")
    return "\n".join(script)


def help_examples(command):
    """The commands under "Example" in a program's --help and in that of its subcommands."""
    found = []
    top = help_of(command)
    pages = [(command, top)] + [(f"{command} {name}", help_of(f"{command} {name}")) for name in subcommands(top)]
    for page, text in pages:
        inside = False
        for line in text.splitlines():
            head = re.match(r"^\s*Examples?:\s*(.*)$", line, re.IGNORECASE)
            if head:
                inside = True
                line = "  " + head[1]
            if inside and line.strip() and not line.startswith(" "):
                inside = False
            script = re.sub(r"^\$ ", "", line.strip())
            # Options explained below an example are no commands: an example names the program.
            if inside and re.search(r"\b(greenroom|\w+\.py)\s", script):
                found.append(from_help(page, script))
    return found


def from_help(page, script):
    block = Block(f"{page} --help", script)
    # The demo has a failing backend, so a check may well say 1; wrong usage is 2 or more everywhere.
    block.exit = None
    if re.search(r"\bmonitor\b", script) and "--once" not in script:
        block.stop_after = HELP_RUNS_FOR
    if re.search(r"\bserve\b", script):
        block.not_run = "starts a second server"
    if "https://" in script:
        block.not_run = "reaches out to the network"
    return block


def help_of(command):
    done = subprocess.run(
        [*shlex.split(command), "--help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        raise BadDocument(f"{command} --help: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def subcommands(text):
    """The names under "Commands:" in a --help page, clap's or argparse's."""
    braces = re.search(r"\{([\w,-]+)\}", text)
    if braces:
        return braces[1].split(",")
    section = re.search(r"^Commands:\n((?:[ \t]+.*\n?)+)", text, re.MULTILINE)
    names = re.findall(r"^ {2}([a-z][\w-]*)", section[1], re.MULTILINE) if section else []
    return [name for name in names if name != "help"]


def run(block, url, token, env):
    """Runs one block; returns what is wrong with it, or None."""
    script = block.script.replace(DOCUMENTED_URL, url).replace(DOCUMENTED_TOKEN, token)
    process = subprocess.Popen(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=ROOT, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
        # Where the check runs in a shell's background, it is ignored, and so it would be by every command.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=block.stop_after or LIMIT)
        if block.stop_after:
            return f"ended by itself with exit {process.returncode}\n{out}{err}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT if block.stop_after else signal.SIGKILL)
        try:
            out, err = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return "does not end after Ctrl-C"
        if not block.stop_after:
            return f"still ran after {LIMIT:.0f} s\n{out}{err}"
    return verdict(block, process.returncode, out, err)


def verdict(block, code, out, err):
    said = f"{out}{err}"
    if block.exit is None and (code > 1 or code < 0) and not block.stop_after:
        return f"exit {code}, which is neither healthy (0) nor unhealthy (1)\n{said}"
    if block.exit is not None and code != block.exit:
        return f"exit {code} instead of {block.exit}\n{said}"
    for text in block.shows:
        if text not in said:
            return f"does not show {text!r}\n{said}"
    if not block.shows and block.exit == 0 and ERROR_OBJECT.search(out):
        return f"answers with an error that nothing announces\n{said}"
    return None


def environment(url, token):
    env = {**os.environ, "GREENROOM_URL": url, "GREENROOM_TOKEN": token, "NO_COLOR": "1", "LANG": "C.UTF-8"}
    env.pop("LC_ALL", None)
    # So that `python3` in a document is the one that has the libraries of the check.
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    # So that the annotated example can be validated as documented, without anybody's keys.
    example = ROOT / "settings" / "example.toml"
    for name in re.findall(r"\$\{(\w+)\}", example.read_text(encoding="utf-8")) if example.exists() else []:
        env.setdefault(name, "0123456789abcdef" * 4 if name.endswith("SHA256") else f"example-{name.lower()}")
    return env


def documents():
    return sorted([*ROOT.glob("README*.md"), *ROOT.glob("examples/**/*.md")])


def main(arguments):
    url = (arguments[0] if arguments else os.environ.get("GREENROOM_URL", DOCUMENTED_URL)).rstrip("/")
    token = os.environ.get("GREENROOM_TOKEN", DOCUMENTED_TOKEN)
    files = [Path(name).resolve() for name in arguments[1:]]
    todo = []
    try:
        for file in files or documents():
            here = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
            todo += blocks(str(here), file.read_text(encoding="utf-8"))
        if not files:
            if not shutil.which("greenroom"):
                raise BadDocument("greenroom is not on PATH; put target/debug or target/release there")
            todo += help_examples("greenroom")
            todo += help_examples(f"{shlex.quote(sys.executable)} examples/backend_health_checker.py")
    except BadDocument as bad:
        print(f"commands.py: {bad}", file=sys.stderr)
        return 2
    if not todo:
        print("commands.py: there is no command in these documents", file=sys.stderr)
        return 2
    env, failed, skipped = environment(url, token), 0, 0
    for block in todo:
        title = f"{block.where}  {block.script.strip().splitlines()[0][:70]}"
        if block.not_run:
            skipped += 1
            print(f"skip  {title}  ({block.not_run})", flush=True)
            continue
        began = time.monotonic()
        wrong = run(block, url, token, env)
        failed += wrong is not None
        print(f"{'FAIL' if wrong else 'ok  '}  {title}  ({time.monotonic() - began:.1f} s)", flush=True)
        if wrong:
            print("      " + wrong.strip().replace("\n", "\n      "), flush=True)
    print(f"{len(todo) - failed - skipped} commands work, {failed} fail, {skipped} are not run here")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
