# The shell scripts: exit codes, odd names and prompts, missing tools, and a webhook on loopback.
import os
import shutil

import pytest
from conftest import ROOT
from fake_proxy import FakeProxy, Webhook

SCRIPTS = ROOT / "scripts"
ALL = ["health_check.sh", "alert_check.sh", "compare_backends.sh"]
# What would break a script that pastes names and prompts into JSON or into a command.
ODD = """o'dd "name" \\ $(touch pwned) `touch pwned`; é 日本 {"a": 1} %s"""


@pytest.fixture
def script(run):
    return lambda name, *arguments, **env: run("bash", SCRIPTS / name, *arguments, **env)


@pytest.fixture
def webhook():
    with Webhook() as running:
        yield running


def test_health_check_names_exactly_the_failing_backend(script):
    done = script("health_check.sh")
    assert done.returncode == 1, done
    assert "3 of 4 backends are healthy" in done.stdout and "failing: problematic_backend\n" in done.stdout
    assert done.stdout.count("FAILED") == 1 and "502" in done.stdout


def test_health_check_of_healthy_backends_exits_0(script, proxy):
    done = script("health_check.sh", "openai_official", "google_gemini")
    assert done.returncode == 0 and "2 of 2" in done.stdout, done
    assert proxy.asked() == ["google_gemini", "openai_official"]
    assert all(chat["max_tokens"] == 1 for chat in proxy.chats)


@pytest.mark.parametrize("name", ["health_check.sh", "alert_check.sh"])
def test_a_model_that_no_backend_takes_requests_for_is_a_failure(script, proxy, webhook, name):
    proxy.backends.pop("problematic_backend")
    proxy.unserved = {"one": {"openai_official": "it does not know this model"}}
    done = script(name, WEBHOOK_URL=webhook.url)
    assert done.returncode == 1 and "no backend takes requests for it; openai_official: it does not know" in done.stdout, done
    assert script(name, "google_gemini", WEBHOOK_URL=webhook.url).returncode == 0
    assert script(name, WEBHOOK_URL=webhook.url, GREENROOM_MODEL="gpt-4o").returncode == 0


def test_the_environment_configures_model_and_time_limit(script, proxy):
    assert script("health_check.sh", "openai_official", GREENROOM_MODEL="gpt-4o-mini").returncode == 0
    assert proxy.chats[-1]["model"] == "gpt-4o-mini"
    proxy.backends["openai_official"] = "drip"
    done = script("health_check.sh", "openai_official", GREENROOM_TIMEOUT="0.3")
    assert done.returncode == 1 and "no complete answer" in done.stdout, done


@pytest.mark.parametrize("name", ALL)
def test_a_backend_is_asked_for_a_model_that_it_serves_unless_another_is_named(script, proxy, webhook, name):
    proxy.backends = [*proxy.backends, "nobodys"]
    proxy.serves = {
        "google_gemini": ["fast-embedding", "fast model", "gpt-4o-mini"],
        "openai_official": ["a", "gpt-4o"],
        "nobodys": [],
    }

    def asked():
        return {chat["backend"]: chat["model"] for chat in proxy.chats}

    script(name, WEBHOOK_URL=webhook.url)
    assert [asked()[backend] for backend in ("google_gemini", "openai_official")] == ["fast model", "gpt-4o"]
    assert "nobodys" not in asked()
    script(name, WEBHOOK_URL=webhook.url, GREENROOM_MODEL="gpt-4o-mini")
    assert set(asked().values()) == {"gpt-4o-mini"}


@pytest.mark.parametrize("backends", [[], ["openai_official"]])
def test_a_wrong_token_is_told_from_a_server_that_is_away(script, proxy, backends):
    done = script("health_check.sh", *backends, GREENROOM_TOKEN="wrong")
    assert done.returncode == 2 and "does not know the token" in done.stderr, done
    assert "FAILED" not in done.stdout and not proxy.chats
    done = script("health_check.sh", GREENROOM_URL="http://127.0.0.1:1")
    assert done.returncode == 2 and "cannot be asked" in done.stderr, done


@pytest.mark.parametrize("name", ALL)
def test_operators_endpoints_may_have_an_address_of_their_own(script, proxy, operators, webhook, name):
    done = script(name, GREENROOM_ADMIN_URL=operators.url, WEBHOOK_URL=webhook.url)
    assert done.returncode == 1 and len(proxy.chats) == 4, done
    done = script(name, WEBHOOK_URL=webhook.url)
    assert done.returncode == 2 and "GREENROOM_ADMIN_URL" in done.stderr, done


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_an_address_is_taken_with_and_without_v1_as_the_command_line_does(script, proxy, webhook, name, end):
    url = proxy.url + end
    done = script(name, GREENROOM_URL=url, GREENROOM_ADMIN_URL=url, WEBHOOK_URL=webhook.url)
    assert done.returncode == 1 and len(proxy.chats) == 4, done


@pytest.mark.parametrize("name", ALL)
def test_a_model_that_reasons_is_asked_in_words_that_it_takes(script, proxy, webhook, name):
    proxy.backends["openai_official"] = "reasoning"
    done = script(name, "openai_official", "google_gemini", WEBHOOK_URL=webhook.url)
    assert done.returncode == 0, done
    assert proxy.asked() == ["google_gemini", "openai_official", "openai_official"]


@pytest.mark.parametrize("name", ALL)
def test_an_answer_that_breaks_off_after_its_200_is_a_failure(script, proxy, webhook, name):
    proxy.backends["openai_official"] = "cut"
    done = script(name, "openai_official", WEBHOOK_URL=webhook.url)
    assert done.returncode == 1 and "no complete answer" in done.stdout, done


@pytest.mark.parametrize("name", ALL)
def test_any_backend_name_arrives_as_it_was_written(script, proxy, webhook, name):
    proxy.backends[ODD] = "healthy"
    done = script(name, ODD, WEBHOOK_URL=webhook.url)
    assert done.returncode == 0, done
    assert [chat["backend"] for chat in proxy.chats] == [ODD]
    assert not (ROOT / "pwned").exists()


def test_any_prompt_arrives_as_it_was_written(script, proxy):
    done = script("compare_backends.sh", "openai_official", PROMPT=ODD + "\nsecond line")
    assert done.returncode == 0 and "Hello from openai_official" in done.stdout, done
    assert proxy.chats[0]["messages"] == [{"role": "user", "content": ODD + "\nsecond line"}]


def test_compare_shows_every_answer_and_fails_if_one_is_missing(script):
    done = script("compare_backends.sh")
    assert done.returncode == 1, done
    for name in ("openai_official", "anthropic_claude", "google_gemini"):
        assert f"Hello from {name}\n" in done.stdout
    assert "== problematic_backend  FAILED, HTTP 502" in done.stdout
    assert script("compare_backends.sh", MAX_TOKENS="1; x").returncode == 2


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("missing", ["curl", "jq", "bc"])
def test_a_missing_tool_is_named(script, name, missing, tmp_path):
    for tool in {"bash", "curl", "jq", "bc", "mktemp", "rm", "cat", "grep", "mv"} - {missing}:
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = script(name, "openai_official", PATH=str(tmp_path), WEBHOOK_URL="http://127.0.0.1:1")
    assert done.returncode == 2 and f"{missing} is missing" in done.stderr, done


@pytest.mark.parametrize("name", ALL)
def test_a_proxy_that_is_away_is_told_in_words(script, webhook, name):
    done = script(name, GREENROOM_URL="http://127.0.0.1:1", WEBHOOK_URL=webhook.url)
    assert done.returncode == 2 and "cannot be listed" in done.stderr, done


def test_secrets_stand_in_no_command_line(script, webhook, environment, tmp_path):
    seen = tmp_path / "seen"
    wrapper = tmp_path / "curl"
    wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{seen}"\nexec "{shutil.which("curl")}" "$@"\n')
    wrapper.chmod(0o755)
    hook = f"{webhook.url}/services/SECRET"
    script("alert_check.sh", PATH=f"{tmp_path}{os.pathsep}{environment['PATH']}", WEBHOOK_URL=hook)
    told = seen.read_text()
    assert webhook.messages and "/v1/chat/completions" in told
    assert environment["GREENROOM_TOKEN"] not in told and "SECRET" not in told


def texts(webhook):
    return [message["text"] for message in webhook.messages]


def test_an_alert_goes_to_the_webhook_for_the_failing_backend_only(script, webhook):
    done = script("alert_check.sh", WEBHOOK_URL=webhook.url)
    assert done.returncode == 1, done
    (text,) = texts(webhook)
    assert text.startswith("Greenroom backend problematic_backend fails: HTTP 502: upstream_error")
    assert all(list(message) == ["text"] for message in webhook.messages)


def test_no_alert_for_healthy_backends(script, webhook):
    assert script("alert_check.sh", "openai_official", WEBHOOK_URL=webhook.url).returncode == 0
    assert not webhook.messages


def test_with_a_state_file_only_changes_are_told(script, proxy, webhook, tmp_path):
    state = {"WEBHOOK_URL": webhook.url, "STATE_FILE": str(tmp_path / "failing")}
    assert [script("alert_check.sh", **state).returncode for _ in range(2)] == [1, 1]
    assert len(webhook.messages) == 1
    proxy.backends["problematic_backend"] = "healthy"
    assert [script("alert_check.sh", **state).returncode for _ in range(2)] == [0, 0]
    assert texts(webhook)[1:] == ["Greenroom backend problematic_backend is healthy again"]


def test_a_model_without_a_backend_is_told_once_and_again_when_it_has_one(script, proxy, webhook, tmp_path):
    proxy.backends.pop("problematic_backend")
    proxy.unserved = {"one": {"openai_official": "it failed too often"}}
    state = {"WEBHOOK_URL": webhook.url, "STATE_FILE": str(tmp_path / "failing")}
    assert [script("alert_check.sh", **state).returncode for _ in range(2)] == [1, 1]
    proxy.unserved = {}
    assert [script("alert_check.sh", **state).returncode for _ in range(2)] == [0, 0]
    fails = "Greenroom model one fails: no backend takes requests for it; openai_official: it failed too often"
    assert texts(webhook) == [fails, "Greenroom model one has a backend again"]


@pytest.mark.parametrize("backends", [[], ["openai_official"]])
def test_a_model_is_told_to_have_a_backend_only_once_that_is_known(script, proxy, webhook, tmp_path, backends):
    proxy.backends.pop("problematic_backend")
    state = {"WEBHOOK_URL": webhook.url, "STATE_FILE": str(tmp_path / "failing")}

    def checked(*names):
        return script("alert_check.sh", *names, **state).returncode

    proxy.unserved = {"one": {"openai_official": "it failed too often"}}
    assert checked(*backends) == 1
    # Without names they are listed once before that.
    proxy.lists = proxy.listed + (not backends)
    assert checked(*backends) == 1
    proxy.lists = None
    # The model is none of these backends', yet still has none.
    assert checked("google_gemini") == 0 and len(webhook.messages) == 1
    proxy.unserved = {}
    assert [checked(*backends) for _ in range(2)] == [0, 0]
    assert texts(webhook)[1:] == ["Greenroom model one has a backend again"]


def test_a_slow_answer_is_an_alert_if_wanted(run, webhook, environment):
    with FakeProxy({"openai_official": "healthy"}, delay=0.2) as slow:
        slowly = {"GREENROOM_URL": slow.url, "WEBHOOK_URL": webhook.url}
        done = run("bash", SCRIPTS / "alert_check.sh", SLOWER_THAN="0.1", **slowly)
        assert done.returncode == 1 and "slow" in texts(webhook)[0], done
        assert run("bash", SCRIPTS / "alert_check.sh", SLOWER_THAN="30", **slowly).returncode == 0


@pytest.mark.parametrize("limit", ["abc", "1; x", "-1", "1e3", "1.2.3", "."])
def test_a_limit_that_is_no_number_is_told_before_anything_is_asked(script, proxy, webhook, limit):
    done = script("alert_check.sh", WEBHOOK_URL=webhook.url, SLOWER_THAN=limit)
    assert done.returncode == 2 and "SLOWER_THAN must be a number" in done.stderr, done
    assert not proxy.chats


def test_an_alert_that_nobody_took_is_sent_again(script, webhook, tmp_path):
    state = {"STATE_FILE": str(tmp_path / "failing")}
    with Webhook(status=500) as broken:
        done = script("alert_check.sh", WEBHOOK_URL=broken.url, **state)
    assert done.returncode == 2 and "took no message" in done.stderr, done
    assert script("alert_check.sh", WEBHOOK_URL=webhook.url, **state).returncode == 1
    assert len(webhook.messages) == 1


def test_greenroom_itself_being_away_is_an_alert(script, webhook):
    script("alert_check.sh", GREENROOM_URL="http://127.0.0.1:1", WEBHOOK_URL=webhook.url)
    assert "cannot be listed" in texts(webhook)[0]


@pytest.mark.parametrize("url", ["", "slack", 'http://x"\nurl = "http://y'])
def test_a_missing_or_odd_webhook_is_told_before_anything_is_asked(script, proxy, url):
    done = script("alert_check.sh", WEBHOOK_URL=url)
    assert done.returncode == 2 and "WEBHOOK_URL" in done.stderr, done
    assert not proxy.chats


def test_shellcheck_finds_nothing(run):
    done = run("shellcheck", *(SCRIPTS / name for name in [*ALL, "lib.sh"]))
    assert done.returncode == 0, done.stdout
