# The Python tool against a proxy whose backends fail in every way a client can see.
import ast
import json
import re
import runpy
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from conftest import LIMIT, ROOT
from fake_proxy import ADMIN, PINNER

TOOL = ROOT / "examples" / "backend_health_checker.py"
HEALTHY = ["openai_official", "anthropic_claude", "google_gemini"]


@pytest.fixture
def tool(run):
    return lambda *arguments, **env: run(sys.executable, TOOL, *arguments, **env)


def rows(output):
    """The table of a check: status by backend."""
    return dict(re.findall(r"^(\w+) +(healthy|FAILED) ", output, re.MULTILINE))


def test_check_names_exactly_the_failing_backend(tool):
    done = tool("check")
    assert done.returncode == 1, done
    assert rows(done.stdout) == {**dict.fromkeys(HEALTHY, "healthy"), "problematic_backend": "FAILED"}
    assert "3 of 4 backends are healthy; failing: problematic_backend\n" in done.stdout
    assert "upstream_error: The backend failed" in done.stdout


def test_check_of_healthy_backends_exits_0_and_asks_only_those(tool, proxy):
    done = tool("check", "--backends", "openai_official", "anthropic_claude")
    assert done.returncode == 0, done
    assert proxy.asked() == ["anthropic_claude", "openai_official"]


def test_a_model_that_no_backend_takes_requests_for_is_a_failure(tool, proxy):
    proxy.backends.pop("problematic_backend")
    proxy.unserved = {"one": {"openai_official": "it does not know this model"}}
    for command in [["check"], ["monitor", "--count", "1"]]:
        done = tool(*command)
        assert done.returncode == 1 and "3 of 3 backends are healthy; failing: model one\n" in done.stdout, done
        assert "no backend takes requests for it; openai_official: it does not know this model" in done.stdout
    for others in [["--backends", "google_gemini"], ["--model", "gpt-4o"]]:
        assert tool("check", *others).returncode == 0
    told = json.loads(tool("check", "--json").stdout)
    assert [o["model"] for o in told["backends"] if o["backend"] == "none"] == ["one"] and not told["healthy"]


def test_a_check_is_pinned_and_costs_one_token(tool, proxy):
    tool("check", "--backends", "openai_official")
    assert proxy.chats == [
        {
            "model": "gpt-4o",
            "backend": "openai_official",
            "messages": [{"role": "user", "content": "ping"}],
            "max_tokens": 1,
        }
    ]


@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
def test_a_model_that_reasons_is_asked_in_words_that_it_takes(tool, proxy, streaming):
    proxy.backends["openai_official"] = "reasoning"
    done = tool("check", "--backends", "openai_official", *streaming)
    assert done.returncode == 0 and len(proxy.chats) == 2, done


def test_a_streaming_check_times_the_first_token(tool, proxy):
    done = tool("check", "--streaming", "--backends", *HEALTHY)
    assert done.returncode == 0, done
    assert all(chat["stream"] is True for chat in proxy.chats)
    line = next(line for line in done.stdout.splitlines() if line.startswith("openai_official"))
    assert re.search(r"200 +\d+\.\d{3} s +\d+\.\d{3} s +\"Hello you\"", line), line


@pytest.mark.parametrize(
    ("behaviour", "streaming", "words"),
    [
        ("no_done", True, "without [DONE]"),
        ("error_frame", True, "error in the stream: upstream_error: it broke"),
        ("nonsense", False, "not a chat completion"),
        ("empty", False, "not a chat completion"),
        ("cut", False, "cut short"),
        ("nonsense", True, "without [DONE]"),
    ],
)
def test_an_answer_that_is_not_whole_is_a_failure(tool, proxy, behaviour, streaming, words):
    proxy.backends["openai_official"] = behaviour
    done = tool("check", "--backends", "openai_official", *(["--streaming"] if streaming else []))
    assert done.returncode == 1, done
    assert words in done.stdout


def test_the_time_limit_holds_for_an_answer_that_drips(tool, proxy):
    proxy.backends["openai_official"] = "drip"
    began = time.monotonic()
    done = tool("check", "--backends", "openai_official", "anthropic_claude", "--timeout", "0.5")
    assert done.returncode == 1 and time.monotonic() - began < LIMIT / 2, done
    assert rows(done.stdout) == {"openai_official": "FAILED", "anthropic_claude": "healthy"}
    assert "in time" in done.stdout


def test_what_a_backend_says_cannot_steer_the_terminal(tool, proxy):
    proxy.backends["openai_official"] = "rude"
    done = tool("check", "--backends", "openai_official")
    assert "\x1b" not in done.stdout and "alert second line" in done.stdout


@pytest.mark.parametrize("before", [True, False])
def test_common_options_stand_before_or_after_the_subcommand(run, proxy, before):
    common = ["--url", proxy.url, "--token", ADMIN, "--model", "gpt-4o-mini", "--timeout", "9"]
    command = [*common, "check"] if before else ["check", *common]
    # What the environment says would fail: the options have to win.
    wrong = {"GREENROOM_URL": "http://127.0.0.1:1", "GREENROOM_TOKEN": "wrong"}
    done = run(sys.executable, TOOL, *command, "--backends", "openai_official", **wrong)
    assert done.returncode == 0, done
    assert proxy.chats[0]["model"] == "gpt-4o-mini"


def test_an_option_before_survives_another_one_after(tool, proxy):
    done = tool("--model", "gpt-4o-mini", "check", "--timeout", "9", "--backends", "openai_official")
    assert done.returncode == 0 and proxy.chats[0]["model"] == "gpt-4o-mini", done


def test_a_token_that_may_not_list_must_name_the_backends_and_is_told_so(tool):
    done = tool("check", GREENROOM_TOKEN=PINNER)
    assert done.returncode == 2 and "--backends" in done.stderr, done
    done = tool("check", "--backends", "openai_official", GREENROOM_TOKEN=PINNER)
    assert done.returncode == 0, done


def test_operators_endpoints_at_an_address_of_their_own_need_it_or_the_backends_names(tool, proxy, operators):
    assert tool("check", "--admin-url", operators.url).returncode == 1, "one of them fails"
    assert len(proxy.chats) == 4
    assert tool("check", "--backends", "openai_official").returncode == 0
    done = tool("check")
    assert done.returncode == 2 and "--admin-url" in done.stderr and "--backends" in done.stderr, done
    done = tool("check", "--url", operators.url)
    assert done.returncode == 2 and "server.admin_bind" in done.stderr, done


@pytest.mark.parametrize("names", [[], ["--backends", "openai_official", "--model", "gpt-4o"]])
def test_a_proxy_that_cannot_be_asked_is_no_failing_backend(tool, names):
    unknown = tool("check", "--token", "wrong", *names)
    assert unknown.returncode == 2 and "does not know this token" in unknown.stderr, unknown
    # Nothing can listen on port 1 of loopback without being root and odd.
    absent = tool("check", "--url", "http://127.0.0.1:1", *names)
    assert absent.returncode == 2 and "cannot be asked" in absent.stderr, absent


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://[", "http://127.0.0.1:port"])
def test_a_bad_address_is_told_in_one_line(tool, url):
    done = tool("check", "--url", url)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_an_address_is_taken_with_and_without_v1_as_the_command_line_does(tool, proxy, end):
    url = proxy.url + end
    done = tool("check", GREENROOM_URL=url, GREENROOM_ADMIN_URL=url)
    assert done.returncode == 1 and rows(done.stdout)["openai_official"] == "healthy", done


def test_json_is_for_scripts(tool):
    done = tool("check", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["healthy"] is False
    assert [b["backend"] for b in told["backends"] if not b["healthy"]] == ["problematic_backend"]
    assert {b["status"] for b in told["backends"]} == {200, 502}


def test_benchmark_asks_each_backend_every_round_and_the_failing_one_is_never_fastest(tool, proxy):
    done = tool("benchmark", "--rounds", "3")
    assert done.returncode == 1, done
    assert proxy.asked() == sorted([*HEALTHY, "problematic_backend"] * 3)
    failing = next(line for line in done.stdout.splitlines() if line.startswith("problematic_backend"))
    assert " 0/3 " in failing and "fastest" not in failing
    assert done.stdout.count("fastest") == 1 and done.stdout.count(" 3/3 ") == 3


def test_benchmark_of_healthy_backends_exits_0(tool):
    assert tool("benchmark", "--rounds", "1", "--streaming", "--backends", *HEALTHY).returncode == 0


def test_benchmark_reckons_as_greenrooms_own_does(capsys, monkeypatch):
    tool = runpy.run_path(str(TOOL))
    outcome, words = tool["Outcome"], "upstream_error: The backend failed"

    def good(seconds, first):
        return outcome("b", "m", True, 200, seconds, first, 30, "one two")

    said = {
        # Quick where it answers, which is now and then.
        "flaky": [good(1.0, 0.5), outcome("b", "m", False, 502, 0.01, None, None, words), outcome("b", "m", False, 502, 0.01, None, None, "x")],
        "sound": [good(4.0, 1.0), good(4.0, 1.0), good(7.0, 4.0)],
    }
    rounds = {name: iter(outcomes) for name, outcomes in said.items()}
    proxy = SimpleNamespace(ask=lambda backend, *_: next(rounds[backend]))
    monkeypatch.setitem(tool["benchmark"].__globals__, "targets", lambda *_: [SimpleNamespace(backend=name, model="m") for name in said])
    args = SimpleNamespace(backends=None, model=None, rounds=3, streaming=True)
    assert tool["benchmark"](proxy, args) == 1
    lines = capsys.readouterr().out.splitlines()
    flaky, sound = (next(line for line in lines if line.startswith(f"{name} ")) for name in said)
    assert " 1/3 " in flaky and "fastest" not in flaky and f"flaky: {words}" in lines
    assert sound.split()[-4:] == ["2.000", "s", "10", "fastest"]


def start_monitor(environment, *arguments):
    command = [sys.executable, str(TOOL), "monitor", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # In a shell's background it is ignored, and so it would be by the tool.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def read_until(process, words):
    """Reads lines until one has `words`; the end of the output is a failure."""
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return said
    raise AssertionError(f"no {words!r} in {said}, {process.stderr.read()}")


def test_monitor_tells_a_change_once_and_ctrl_c_ends_it_with_a_summary(environment, proxy):
    with start_monitor(environment, "--interval", "0.1") as process:
        read_until(process, "failing: problematic_backend")
        proxy.backends["problematic_backend"] = "healthy"
        read_until(process, "CHANGED  problematic_backend is healthy again")
        read_until(process, "4 of 4 backends are healthy")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0 and not errors
    assert "CHANGED" not in rest
    assert re.search(r"^  problematic_backend: \d+\.\d %, healthy at last$", rest, re.MULTILINE), rest


def test_monitor_tells_when_a_model_has_a_backend_again_and_not_while_that_cannot_be_known(environment, proxy):
    proxy.backends.pop("problematic_backend")
    proxy.unserved = {"one": {"openai_official": "it failed too often"}}
    with start_monitor(environment, "--interval", "0.1") as process:
        read_until(process, "failing: model one")
        proxy.lists, rounds = 0, proxy.listed + 3
        said = []
        while proxy.listed < rounds:
            said += read_until(process, "3 of 3 backends are healthy")
        assert not any("CHANGED" in line for line in said), said
        proxy.unserved, proxy.lists = {}, None
        read_until(process, "CHANGED  model one is healthy again")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT)
    assert process.returncode == 0


@pytest.mark.parametrize("model", [[], ["--model", "gpt-4o"]])
@pytest.mark.parametrize("listens_for", [("/v1/", "/admin/"), ("/v1/",)])
def test_monitor_of_one_who_may_not_list_the_backends_is_refused_once(tool, proxy, model, listens_for):
    proxy.listens_for = listens_for
    done = tool("monitor", "--interval", "0.01", "--count", "3", "--backends", *HEALTHY, *model, GREENROOM_TOKEN=PINNER)
    assert done.returncode == 0 and len(proxy.chats) == 9 and proxy.listed == 1, done


def test_a_backend_may_be_called_none(tool, proxy):
    proxy.backends = {"none": "failing"}
    done = tool("check")
    assert rows(done.stdout) == {"none": "FAILED"} and "0 of 1 backends are healthy; failing: none\n" in done.stdout, done


def test_monitor_that_ends_with_a_failing_backend_exits_1(tool):
    done = tool("monitor", "--interval", "0.01", "--count", "2")
    assert done.returncode == 1 and "problematic_backend: 0.0 %, FAILED at last" in done.stdout, done


@pytest.mark.parametrize("arguments", [[], ["check", "--timeout", "0"], ["benchmark", "--rounds", "x"], ["monitor", "--interval", "-1"]])
def test_wrong_usage_exits_2_and_explains(tool, arguments):
    done = tool(*arguments)
    assert done.returncode == 2 and "usage:" in done.stderr, done


def test_it_needs_python_3_9_and_the_standard_library_only():
    tree = ast.parse(TOOL.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= set(sys.stdlib_module_names)
