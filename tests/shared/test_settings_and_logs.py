"""Settings that say what is wrong, and logs that say nothing secret."""

import io
import json
import logging
import pickle
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import pytest
import structlog
from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tests.support.logs import captured_logs
from vreg_shared.secret import Secret
from vreg_shared.settings import Listen, Seconds, ServiceSettings, SettingsError, load
from vreg_shared.telemetry import redact_text

CANARY = "c4n4ry-s3cr3t"


class TestSettings:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("VREG_KEYS", "/keys/api")
        monkeypatch.setenv("VREG_PUBLIC_KEYS", "/keys/public")

    def test_lists_are_split_at_commas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VREG_EGRESS_ALLOWED_CIDRS", "10.0.0.0/8, fd00::/8")
        monkeypatch.setenv("VREG_EGRESS_ALLOWED_NAMES", "*.example.com")
        settings = load(ServiceSettings)
        assert [str(network) for network in settings.egress_allowed_cidrs] == ["10.0.0.0/8", "fd00::/8"]
        assert settings.egress_allowed_names == ("*.example.com",)

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("VREG_LOG_LEVEL", "loud", "VREG_LOG_LEVEL"),
            ("VREG_NATS_URL", "nats://user:pw@host", "VREG_NATS_URL"),
            ("VREG_CA_BUNDLE", "/no/such/file", "VREG_CA_BUNDLE: there is no file"),
            ("VREG_EGRESS_ALLOWED_CIDRS", "10.0.0.0/33", "VREG_EGRESS_ALLOWED_CIDRS"),
        ],
    )
    def test_a_wrong_setting_is_named_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError) as caught:
            load(ServiceSettings)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_setting_is_named_with_its_meaning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("VREG_KEYS")
        with pytest.raises(SettingsError, match="VREG_KEYS: is not set; set it"):
            load(ServiceSettings)

    def test_a_listen_address_is_host_and_port(self) -> None:
        assert (Listen.parse("127.0.0.1:0").host, Listen.parse("[::1]:8500").host) == ("127.0.0.1", "::1")
        assert Listen.parse("[::1]:8500").port == 8500
        for text in ("8500", "host:", "host:70000", "a b:1", ":1"):
            with pytest.raises(ValueError, match="host:port"):
                Listen.parse(text)


class TestSecret:
    def test_it_prints_as_a_mask_everywhere(self) -> None:
        class Form(BaseModel):
            password: Secret

        secret = Secret(CANARY)
        form = Form.model_validate({"password": CANARY})
        texts = (
            repr(secret),
            str(secret),
            f"{secret:>20}",
            repr(form),
            form.model_dump_json(),
            repr([secret]),
        )
        assert not any(CANARY in text for text in texts)
        assert form.password.reveal() == CANARY

    def test_it_is_never_pickled(self) -> None:
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(Secret(CANARY))

    def test_it_equals_the_same_text_only(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"


class TestLogs:
    @pytest.fixture
    def lines(self) -> Iterator[io.StringIO]:
        with captured_logs("proxy") as text:
            yield text

    def test_every_line_is_json_with_service_and_level(self, lines: io.StringIO) -> None:
        structlog.get_logger().info("upstream asked", host="a\r\nb")
        logging.getLogger("library").warning("plain %s", "words")
        first, second = (json.loads(line) for line in lines.getvalue().splitlines())
        assert (first["service"], first["level"], first["host"]) == ("proxy", "info", "a\r\nb")
        assert second["event"] == "plain words"

    @pytest.mark.parametrize(
        "event",
        [
            {"secret": Secret(CANARY)},
            {"anything": [{"deep": Secret(CANARY)}]},
            {"authorization": "Basic " + CANARY},
            {"headers": {"Authorization": CANARY}},
            {"words": f"sent Authorization: Bearer {CANARY}-and-more"},
            {"url": f"https://storage.example/x?X-Amz-Signature={CANARY}"},
            {"db_password": CANARY},
        ],
    )
    def test_secrets_are_masked_by_type_name_and_shape(
        self, lines: io.StringIO, event: dict[str, object]
    ) -> None:
        structlog.get_logger().debug("event", **event)
        assert lines.getvalue()
        assert CANARY not in lines.getvalue()

    def test_an_exceptions_text_is_redacted_too(self, lines: io.StringIO) -> None:
        try:
            raise ValueError(f"Bearer {CANARY}")
        except ValueError:
            structlog.get_logger().exception("failed")
        assert "ValueError" in lines.getvalue()
        assert CANARY not in lines.getvalue()

    @pytest.mark.parametrize(
        "text",
        [
            "vreg_01J0000000000000000000000A_" + "x" * 43,
            "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
            "SUAKYRHVIOREXV7EUZTBHUHL7NUMHPMAS7QMDU3GTIUWEI5LDNOXD43IZY",
        ],
    )
    def test_tokens_of_known_shapes_are_masked_in_free_text(self, text: str) -> None:
        assert text not in redact_text(f"before {text} after")


class Timed(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="VREG_")

    pause: Annotated[Seconds | None, Field(ge=timedelta())] = None


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("300", 300), ("1.5", 1.5), ("PT2M", 120), ("00:01:00", 60)]
)
def test_a_time_is_a_number_of_seconds(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VREG_PAUSE", text)
    assert load(Timed).pause == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e400"])
def test_what_is_no_time_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VREG_PAUSE", text)
    with pytest.raises(SettingsError, match="VREG_PAUSE"):
        load(Timed)
