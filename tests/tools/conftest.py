# What the tests of the tools share: where they are, how they are run, and a proxy with one failing backend.
import os
import subprocess
from pathlib import Path

import pytest
from fake_proxy import ADMIN, FakeProxy

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60.0  # seconds for one run of a tool; it is a failure to reach it


@pytest.fixture
def proxy():
    """Three backends, and one that fails."""
    names = ["openai_official", "anthropic_claude", "google_gemini"]
    with FakeProxy({**dict.fromkeys(names, "healthy"), "problematic_backend": "failing"}) as running:
        yield running


@pytest.fixture
def environment(proxy):
    """The environment of a tool: nothing of the caller's own settings, the fake proxy's address and admin."""
    own = ("GREENROOM_", "WEBHOOK_URL", "STATE_FILE", "SLOWER_THAN", "PROMPT", "MAX_TOKENS")
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**env, "GREENROOM_URL": proxy.url, "GREENROOM_TOKEN": ADMIN, "no_proxy": "127.0.0.1"}


@pytest.fixture
def run(environment):
    """Runs a command from the project's root to its end; keywords add to the environment."""

    def runs(*command, **more):
        env = {**environment, **more}
        return subprocess.run(
            [str(part) for part in command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
        )

    return runs


@pytest.fixture
def operators(proxy):
    """The same backends as `proxy`, whose operators' endpoints are at this address alone, as with server.admin_bind."""
    proxy.listens_for = ("/v1/",)
    with FakeProxy(proxy.backends, listens_for=("/admin/",)) as running:
        yield running
