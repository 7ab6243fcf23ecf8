# Owns what the official OpenAI SDK sees of endpoints beside chat: vectors, verdicts, pictures, sound, recordings, and ranks, for which it has no method.

import base64

import openai
import pytest

MODEL = "gpt-4o"


@pytest.mark.parametrize("backend", ["openai_official", "google_gemini"])
@pytest.mark.parametrize("encoding", [openai.NOT_GIVEN, "float", "base64"])
def test_texts_are_embedded(client, encoding, backend):
    texts, pin = ["Hello!", "Goodbye!"], {"backend": backend}
    answer = client.embeddings.create(
        model=MODEL, input=texts, dimensions=4, encoding_format=encoding, extra_body=pin
    )
    assert [one.index for one in answer.data] == [0, 1] and answer.usage.prompt_tokens > 0
    # Where it asks for nothing the SDK asks for base64, and unpacks it.
    vectors = [one.embedding for one in answer.data]
    unpacked = [len(base64.b64decode(one)) // 4 if isinstance(one, str) else len(one) for one in vectors]
    assert unpacked == [4, 4]


def test_texts_are_judged(client):
    answer = client.moderations.create(model=MODEL, input=["A calm text.", "A text with violence."])
    assert [one.flagged for one in answer.results] == [False, True]


def test_pictures_are_drawn(client):
    raw = client.images.with_raw_response.generate(model=MODEL, prompt="A cat.", n=2)
    assert raw.headers["x-greenroom-backend"] == "openai_official"
    answer = raw.parse()
    assert len(answer.data) == 2 and answer.usage.output_tokens > 0
    assert all(base64.b64decode(one.b64_json).startswith(b"\x89PNG") for one in answer.data)


PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize("image", [("a.png", PIXEL), [("a.png", PIXEL), ("b.png", PIXEL)]])
def test_pictures_are_edited(client, image):
    pin = {"backend": "openai_official"}
    answer = client.images.edit(model=MODEL, image=image, mask=("m.png", PIXEL), prompt="A hat.", n=2, extra_body=pin)
    assert [base64.b64decode(one.b64_json) for one in answer.data] == [PIXEL] * 2 and answer.usage.output_tokens > 0


@pytest.mark.parametrize("what", ["generation", "edit"])
def test_pictures_come_as_events(client, what):
    more = {"image": ("a.png", PIXEL)} if what == "edit" else {}
    ask = client.images.edit if what == "edit" else client.images.generate
    events = list(ask(model=MODEL, prompt="A cat.", stream=True, partial_images=2, **more))
    kinds = [f"image_{what}.{kind}" for kind in ("partial_image", "partial_image", "completed")]
    assert [one.type for one in events] == kinds and events[-1].usage.output_tokens > 0
    assert all(base64.b64decode(one.b64_json) == PIXEL for one in events)


def test_sound_is_made(client):
    sound = client.audio.speech.create(model=MODEL, voice="alloy", input="Hello!", response_format="wav")
    assert sound.response.headers["content-type"] == "audio/wav" and sound.content.startswith(b"RIFF")
    with client.audio.speech.with_streaming_response.create(model=MODEL, voice="alloy", input="Hello!") as streamed:
        assert b"".join(streamed.iter_bytes()) == sound.content


SOUND = ("a.wav", b"RIFF" + bytes(range(256)) * 400)


@pytest.mark.parametrize("what", ["transcriptions", "translations"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_recordings_are_heard(client, what):
    create, pin = getattr(client.audio, what).create, {"backend": "openai_official"}
    heard = create(model=MODEL, file=SOUND, extra_body=pin)
    assert heard.text.startswith("This is a simulated transcript") and heard.to_dict()["usage"]["total_tokens"] > 0
    assert create(model=MODEL, file=SOUND, response_format="text").strip() == heard.text
    assert heard.text in create(model=MODEL, file=SOUND, response_format="vtt", prompt="A word.")


def test_what_is_heard_comes_as_events(client):
    events = list(client.audio.transcriptions.create(model=MODEL, file=SOUND, stream=True))
    assert [one.type for one in events[-2:]] == ["transcript.text.delta", "transcript.text.done"]
    assert "".join(one.delta for one in events[:-1]) == events[-1].text


def test_a_recording_needs_a_model_that_is_there(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.audio.transcriptions.create(model="no-such-model", file=SOUND)
    assert refused.value.code == "model_not_found"


def test_documents_are_ranked(client):
    body = {"model": MODEL, "query": "red wine", "documents": ["Green tea.", "A red wine."], "top_n": 1}
    answer = client.post("/rerank", body=body, cast_to=object)
    assert [one["index"] for one in answer["results"]] == [1] and answer["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("ask", ["moderations", "images"])
def test_a_model_has_to_be_named(client, ask):
    with pytest.raises(openai.BadRequestError) as refused:
        client.moderations.create(input="a") if ask == "moderations" else client.images.generate(prompt="a")
    assert refused.value.param == "model" and refused.value.code == "missing_required_parameter"
