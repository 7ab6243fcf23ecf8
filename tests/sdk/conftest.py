# Owns the clients of the SDK tests: the official ones, pointed at a running `greenroom serve --demo`.

import os

import openai
import pytest

TOKEN = os.environ.get("GREENROOM_TOKEN", "your-token")
GUEST_TOKEN = os.environ.get("GREENROOM_GUEST_TOKEN", "guest-token")


@pytest.fixture(scope="session")
def base_url():
    url = os.environ.get("GREENROOM_URL")
    if not url:
        pytest.exit("set GREENROOM_URL to the address that `greenroom serve --demo` prints", returncode=2)
    return url.rstrip("/") + "/v1"


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key=TOKEN, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def stranger(base_url):
    with openai.OpenAI(base_url=base_url, api_key="nobody's-token", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def guest(base_url):
    with openai.OpenAI(base_url=base_url, api_key=GUEST_TOKEN, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def async_client(base_url):
    def make():
        return openai.AsyncOpenAI(base_url=base_url, api_key=TOKEN, max_retries=0, timeout=30)

    return make


@pytest.fixture(scope="session")
def url(base_url):
    return base_url.removesuffix("/v1")


@pytest.fixture(scope="session")
def token():
    return TOKEN
