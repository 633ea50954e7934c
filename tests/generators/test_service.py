"""Generators that are services: asked over HTTP on this machine, by one that answers as it is told."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from services import KEY, PATIENCE, Reply, Serve, ask, card_of, generator_of, pictures, png, wav

from modaverse.context import Modality
from modaverse.errors import GenerationCancelled, GenerationError, GenerationTimeout
from modaverse.generation import GeneratorPool
from modaverse.generators.opening import open_generators
from modaverse.interfaces import GenerationRequest, Place
from modaverse.media import media_from_bytes


def test_a_picture_is_asked_for_with_prompt_seed_options_and_key(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(pictures(png())))
    made = ask(generator_of(service, tmp_path), {"size": "512x512"})
    assert made.array.shape == (6, 8, 3)
    assert made.array[0, 0].tolist() == [255, 0, 0]
    path, headers, posted = service.asked[0]
    assert path == "/v1/make"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert posted == {"model": "painter-1", "size": "512x512", "prompt": "a red cat", "seed": 7}


def test_sound_is_the_answer_itself(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(wav()))
    made = ask(generator_of(service, tmp_path, call=1), {"pace": 1.5})
    assert made.modality is Modality.AUDIO
    assert made.array.shape == (1600, 1)
    assert service.asked[0][2] == {"response_format": "wav", "input": "a red cat", "speed": 1.5}


def test_an_edit_posts_a_form_with_the_source(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(pictures(png())))
    generator = generator_of(service, tmp_path, ('model = "T-to-I"', 'model = "TI-to-I"\nsource = "image"'))
    assert generator.spec.source is Modality.IMAGE
    source = media_from_bytes(png(colour="blue"), tmp_path)
    request = GenerationRequest("TI-to-I", 'a réd "cat"\r\n', 7, {}, source)
    generator.generate(request, progress=lambda *_: None, cancelled=lambda: False)
    form = service.asked[0][2]
    assert form.pop("image") == png(colour="blue")
    assert form == {"model": "painter-1", "size": "1024x1024", "prompt": 'a réd "cat"', "seed": "7"}
    for wrong in (None, replace(source, modality=Modality.AUDIO)):
        with pytest.raises(GenerationError, match="TI-to-I needs a source of kind image"):
            generator.generate(
                replace(request, source=wrong), progress=lambda *_: None, cancelled=lambda: False
            )
    source.path.unlink()
    with pytest.raises(GenerationError, match="the source cannot be read: No such file"):
        generator.generate(request, progress=lambda *_: None, cancelled=lambda: False)
    assert len(service.asked) == 1


def test_without_a_key_none_is_sent(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(pictures(png())))
    ask(generator_of(service, tmp_path, ('key = "TEST_SERVICE_KEY"\n', "")))
    assert "Authorization" not in service.asked[0][1]


def test_options_that_the_card_does_not_admit_are_not_sent(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(pictures(png())))
    with pytest.raises(GenerationError, match="painter: Options: '9x9' is not one of"):
        ask(generator_of(service, tmp_path), {"size": "9x9"})
    assert service.asked == []


def test_through_the_pool_as_any_other_generator(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(pictures(png())))
    card_of(service.url, tmp_path)
    generators = open_generators(str(tmp_path / "painter.toml"), Place())
    assert [generator.spec.model for generator in generators] == ["T-to-I", "T-to-A"]
    with GeneratorPool(generators, tmp_path / "made") as pool:
        media = [pool.submit(GenerationRequest("T-to-I", "a cat", 1)).result(PATIENCE) for _ in range(2)]
    assert media[0].mime == "image/png"
    assert media[0].path.name.startswith("image-")
    assert len(service.asked) == 2  # what decides its results lies elsewhere, so nothing is cached


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_service_is_asked_again(status: int, serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(b"later", status), Reply(b"later", status), Reply(pictures(png())))
    assert ask(generator_of(service, tmp_path)).array.shape == (6, 8, 3)
    assert len(service.asked) == 3
    assert len({json.dumps(posted) for _, _, posted in service.asked}) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(form: str, serve: Serve, tmp_path: Path) -> None:
    wait = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    service = serve(Reply(b"", 429, {"Retry-After": wait}), Reply(pictures(png())))
    ask(generator_of(service, tmp_path))
    assert 0.9 <= service.times[1] - service.times[0] < 5


def test_a_wait_that_is_longer_than_the_card_allows_is_not_begun(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(b"", 429, {"Retry-After": "3600"}))
    began = time.monotonic()
    with pytest.raises(GenerationError, match=r"127\.0\.0\.1 is busy or out of order \(429\)"):
        ask(generator_of(service, tmp_path))
    assert time.monotonic() - began < 5
    assert len(service.asked) == 1


def test_attempts_come_to_an_end(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(b"<html>Bad gateway</html>", 502))
    with pytest.raises(GenerationError, match=r"out of order \(502\): <html>Bad gateway</html>$") as failure:
        ask(generator_of(service, tmp_path, ("timeout = 10", "timeout = 10\nretries = 2")))
    assert failure.value.hint
    assert len(service.asked) == 3


def test_a_service_that_is_not_there_is_named(serve: Serve, tmp_path: Path) -> None:
    service = serve()
    generator = generator_of(service, tmp_path, ("timeout = 10", "timeout = 10\nretries = 1"))
    service.shutdown()
    service.server_close()
    with pytest.raises(GenerationError, match=r"painter: 127\.0\.0\.1 cannot be reached: .*refused"):
        ask(generator)


def test_an_answer_that_breaks_off_is_asked_for_again(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(pictures(png()), cut=10), Reply(pictures(png())))
    assert ask(generator_of(service, tmp_path)).array.shape == (6, 8, 3)
    assert len(service.asked) == 2


# (what the service answers, what the error says). None of it is asked for twice.
REFUSALS = [
    (Reply(b'{"error": {"message": "no such size"}}', 400), r"127\.0\.0\.1 answers 400: no such size$"),
    (Reply(b'{"error": "no such size"}', 400), r"answers 400: no such size$"),
    (Reply(b"\x00\x1b[31m" + b"word " * 999, 400), r"answers 400: \[31mword word .*…$"),
    (Reply(b"[" * 100_000, 404), r"answers 404: \[\["),
    (Reply(b"", 401), r"refuses access \(401\)$"),
    (Reply(f'{{"error": {{"message": "wrong key {KEY}"}}}}'.encode(), 403), r"\(403\): wrong key \*\*\*$"),
    (
        Reply(b"", 302, {"Location": "http://127.0.0.1:1/"}),
        r"sends on to http://127\.0\.0\.1:1/, which is not",
    ),
    (Reply(b"", 307, {"Location": "//[broken"}), r"sends on to //\[broken, which is not followed"),
    (Reply(b'{"data": []}'), "answers with something else than a file"),
    (Reply(b'{"data": [{"b64_json": "!!!"}]}'), "answers with something else than a file"),
    (Reply(b'{"data": [{"b64_json": 5}]}'), "answers with something else than a file"),
    (Reply(b"[" * 100_000), "answers with something else than a file"),
    (Reply(b'{"data": [{"url": "http://127.0.0.1:1/x.png"}]}'), "answers with a link, which is not followed"),
    (Reply(pictures(wav())), "answers with audio, not with image"),
    (Reply(pictures(b"<svg xmlns='x'></svg>")), "answers with what is no medium: .*SVG"),
    (Reply(pictures(png()[:-30])), "answers with what is no medium"),
    (Reply(pictures(b"")), "answers with what is no medium"),
    (Reply(pictures(png()), 200, {"Content-Encoding": "gzip"}), "sends a packed answer"),
]


@pytest.mark.parametrize(("reply", "message"), REFUSALS)
def test_what_is_refused_or_useless_says_so_once(
    reply: Reply, message: str, serve: Serve, tmp_path: Path
) -> None:
    service = serve(reply)
    with pytest.raises(GenerationError, match=message) as failure:
        ask(generator_of(service, tmp_path))
    assert failure.value.hint
    assert failure.value.message.startswith(("generator painter: ", "127.0.0.1 "))
    assert failure.value.message.isprintable()
    assert len(failure.value.message) < 350
    assert len(service.asked) == 1


@pytest.mark.parametrize("told", [True, False])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(told: bool, serve: Serve, tmp_path: Path) -> None:
    headers = {"Content-Length": str(10**12)} if told else {"Content-Length": "", "Connection": "close"}
    service = serve(Reply(b"x" * 200_000, 200, headers))
    with pytest.raises(GenerationError, match=r"answers with more than 0\.1 MB"):
        ask(generator_of(service, tmp_path, ("timeout = 10", "timeout = 10\nmax_mb = 0.1")))


def test_an_answer_that_comes_byte_by_byte_meets_the_card_s_time(serve: Serve, tmp_path: Path) -> None:
    service = serve(Reply(b"", 200, {"Content-Length": "1000000"}, slowly=True))
    began = time.monotonic()
    with pytest.raises(GenerationTimeout, match=r"127\.0\.0\.1 did not answer in time"):
        ask(generator_of(service, tmp_path, ("timeout = 10", "timeout = 0.3")))
    assert time.monotonic() - began < 1.3


@pytest.mark.parametrize("stage", ["silent", "dripping", "pausing"])
def test_cancelling_ends_within_a_second(stage: str, serve: Serve, tmp_path: Path) -> None:
    gate = threading.Event()
    reply = {
        "silent": Reply(gate=gate),
        "dripping": Reply(b"", 200, {"Content-Length": "1000000"}, slowly=True),
        "pausing": Reply(b"", 429, {"Retry-After": "8"}),
    }[stage]
    service = serve(reply)
    wanted = threading.Event()
    ended: list[float] = []

    def give_up() -> None:
        service.arrived.acquire(timeout=PATIENCE)
        time.sleep(0.1)
        ended.append(time.monotonic())
        wanted.set()

    threading.Thread(target=give_up, daemon=True).start()
    with pytest.raises(GenerationCancelled):
        ask(generator_of(service, tmp_path), cancelled=wanted.is_set)
    assert time.monotonic() - ended[0] < 1.0
    gate.set()
    assert not [thread for thread in threading.enumerate() if thread.name == "modaverse-line"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "painter needs a key, and TEST_SERVICE_KEY is not set"),
        ("sk-secret\nHost: elsewhere", "TEST_SERVICE_KEY holds something else than a key"),
        ("sk-sécret", "TEST_SERVICE_KEY holds something else than a key"),
    ],
)
def test_a_key_that_is_missing_or_none(
    value: str, message: str, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SERVICE_KEY", value)
    service = serve(Reply(pictures(png())))
    generator = generator_of(service, tmp_path)
    for act in (generator.load, lambda: ask(generator)):
        with pytest.raises(GenerationError, match=message) as failure:
            act()
        assert "cret" not in failure.value.message + failure.value.hint
    assert service.asked == []


def test_the_key_is_never_logged_or_shown(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    echo = Reply(f"your key {KEY} is wrong".encode(), 500, {"Location": KEY})
    service = serve(echo, Reply(echo.body, 302, echo.headers), echo)
    generator = generator_of(service, tmp_path)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(GenerationError) as failure:
        ask(generator)
    shown = "".join(capfd.readouterr())
    everything = (shown, caplog.text, repr(vars(generator)), str(failure.value), failure.value.hint)
    assert not any(KEY in text for text in everything)
