# The exporter: what one round of probes shows, and that it keeps showing it on its port.
import importlib.util
import re
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import LIMIT, ROOT
from fake_proxy import ADMIN, PINNER

EXPORTER = ROOT / "examples" / "prometheus_exporter.py"


def values(text, metric):
    """The samples of a metric by backend."""
    found = re.findall(rf'^{metric}{{backend="([^"]+)",model="gpt-4o"}} (\S+)$', text, re.MULTILINE)
    return {backend: float(value) for backend, value in found}


def test_one_round_shows_who_is_healthy(run, proxy):
    done = run(sys.executable, EXPORTER, "--once")
    assert done.returncode == 0, done
    health = values(done.stdout, "backend_health")
    assert health == {"openai_official": 1, "anthropic_claude": 1, "google_gemini": 1, "problematic_backend": 0}
    assert proxy.asked() == sorted(health)
    assert all(chat["max_tokens"] == 1 and chat["backend"] for chat in proxy.chats)


def test_a_model_that_reasons_is_asked_in_words_that_it_takes(run, proxy):
    proxy.backends["openai_official"] = "reasoning"
    done = run(sys.executable, EXPORTER, "--once", "--backends", "openai_official")
    assert values(done.stdout, "backend_health") == {"openai_official": 1}, done
    assert len(proxy.chats) == 2


def test_a_failing_backend_has_no_response_time(run):
    seconds = values(run(sys.executable, EXPORTER, "--once").stdout, "backend_response_time_seconds")
    assert seconds["problematic_backend"] != seconds["problematic_backend"], "NaN is what differs from itself"
    assert 0 < seconds["openai_official"] < LIMIT


def test_promtool_finds_nothing_wrong_with_its_output(run):
    text = run(sys.executable, EXPORTER, "--once").stdout
    lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert lint.returncode == 0 and not lint.stdout + lint.stderr, lint


def test_a_token_that_may_not_list_must_name_the_backends(run):
    done = run(sys.executable, EXPORTER, "--once", GREENROOM_TOKEN=PINNER)
    assert done.returncode == 2 and "name the backends" in done.stderr, done
    done = run(sys.executable, EXPORTER, "--once", "--backends", "openai_official", GREENROOM_TOKEN=PINNER)
    assert values(done.stdout, "backend_health") == {"openai_official": 1}, done


def test_operators_endpoints_may_have_an_address_of_their_own(run, operators):
    done = run(sys.executable, EXPORTER, "--once", GREENROOM_ADMIN_URL=operators.url)
    assert done.returncode == 0 and values(done.stdout, "backend_health")["openai_official"] == 1, done
    done = run(sys.executable, EXPORTER, "--once")
    assert done.returncode == 2 and "--admin-url" in done.stderr, done


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_an_address_is_taken_with_and_without_v1_as_the_command_line_does(run, proxy, end):
    url = proxy.url + end
    done = run(sys.executable, EXPORTER, "--once", GREENROOM_URL=url, GREENROOM_ADMIN_URL=url)
    assert done.returncode == 0 and values(done.stdout, "backend_health")["openai_official"] == 1, done


def test_a_round_that_reached_no_backend_is_no_success(run, proxy):
    for more, words in [
        ({"GREENROOM_URL": "http://127.0.0.1:1"}, "127.0.0.1:1"),
        ({"GREENROOM_URL": proxy.url + "/elsewhere"}, "404"),
        ({"GREENROOM_TOKEN": "nobodys"}, "401"),
    ]:
        done = run(sys.executable, EXPORTER, "--once", "--backends", "openai_official", "google_gemini", **more)
        assert done.returncode == 2 and words in done.stderr, done
    done = run(sys.executable, EXPORTER, "--once", "--backends", "problematic_backend")
    assert done.returncode == 0 and values(done.stdout, "backend_health") == {"problematic_backend": 0}, done


def test_the_port_defaults_to_8000_and_serves_every_round(environment, proxy):
    assert 'PORT = 8000\n' in EXPORTER.read_text(encoding="utf-8")
    command = [sys.executable, str(EXPORTER), "--port", "0", "--interval", "0.1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = re.search(r"http://\S+", process.stdout.readline())[0]
            wait_for(url, lambda health: health.get("problematic_backend") == 0 and health.get("openai_official") == 1)
            proxy.backends["problematic_backend"] = "healthy"
            proxy.backends["openai_official"] = "nonsense"
            wait_for(url, lambda health: health.get("problematic_backend") == 1 and health.get("openai_official") == 0)
        finally:
            process.terminate()


def wait_for(url, good):
    deadline, health = time.monotonic() + LIMIT, {}
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=5) as response:
            health = values(response.read().decode(), "backend_health")
        if good(health):
            return
        time.sleep(0.02)
    raise AssertionError(health)


def test_a_backend_that_is_configured_no_more_leaves_the_metrics(proxy):
    spec = importlib.util.spec_from_file_location("prometheus_exporter", EXPORTER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    exporter = module.Exporter(proxy.url, ADMIN, "gpt-4o", None, 5)
    exporter.probe_all()
    del proxy.backends["google_gemini"]
    exporter.probe_all()
    text = module.generate_latest(exporter.registry).decode()
    assert "problematic_backend" in text and "google_gemini" not in text
