# Owns what the official OpenAI SDK raises: each refusal as the SDK's own type, with code, param and request id.

import openai
import pytest

MODEL = "gpt-4o"
MESSAGES = [{"role": "user", "content": "Hello!"}]


def chat(client, model=MODEL, **more):
    return client.chat.completions.create(model=model, messages=MESSAGES, **more)


def refused(kind, ask):
    """The exception of exactly this type that `ask` raises."""
    with pytest.raises(kind) as caught:
        ask()
    error = caught.value
    assert type(error) is kind
    assert error.request_id and error.body["request_id"] == error.request_id
    return error


def test_a_wrong_token_is_an_authentication_error(stranger):
    for ask in (lambda: chat(stranger), lambda: chat(stranger, stream=True), stranger.models.list):
        error = refused(openai.AuthenticationError, ask)
        assert (error.status_code, error.code) == (401, "invalid_api_key")


def test_a_pin_without_permission_is_a_permission_denied_error(guest):
    assert chat(guest).choices
    error = refused(openai.PermissionDeniedError, lambda: chat(guest, extra_body={"backend": "openai_official"}))
    assert (error.status_code, error.code, error.param) == (403, "backend_not_allowed", "backend")


def test_an_unknown_model_is_a_not_found_error(client):
    for ask in (lambda: chat(client, model="no-such-model"), lambda: client.models.retrieve("no-such-model")):
        error = refused(openai.NotFoundError, ask)
        assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"backend": "no-such-backend"}, "backend_not_found", "backend"),
        ({"backend": 7}, "invalid_backend", "backend"),
        ({"backend": ""}, "invalid_backend", "backend"),
        ({"stream": "yes"}, None, "stream"),
    ],
)
def test_a_bad_member_is_a_bad_request_error(client, body, code, param):
    error = refused(openai.BadRequestError, lambda: chat(client, extra_body=body))
    assert (error.status_code, error.param) == (400, param)
    assert code is None or error.code == code
    assert error.type == "invalid_request_error"


def test_a_pinned_backend_that_fails_is_an_internal_server_error(client):
    error = refused(openai.InternalServerError, lambda: chat(client, extra_body={"backend": "problematic_backend"}))
    assert error.status_code in (502, 503, 504)
    assert error.response.headers["x-greenroom-attempts"] in ("0", "1")


def test_the_sdk_retries_what_is_worth_it_and_not_what_is_not(base_url):
    # Its own retries on: a refusal comes at once, not after the SDK's two further tries.
    with openai.OpenAI(base_url=base_url, api_key="nobody's-token", max_retries=2) as client:
        error = refused(openai.AuthenticationError, lambda: chat(client))
    assert error.response.request.headers["x-stainless-retry-count"] == "0"
