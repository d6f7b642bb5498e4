from __future__ import annotations

import pytest
import yaml

from drupe.errors import InputError
from drupe.line.station.configuration import LineConfig, MqttSettings, load_line
from line_parts import line_config


def mistakes(tmp_path, **changes) -> str:
    document = line_config(tmp_path).model_dump(mode="json", exclude_none=True) | changes
    file = tmp_path / "line.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError) as raised:
        load_line(file)
    return str(raised.value)


def test_a_line_is_read(tmp_path) -> None:
    config = line_config(tmp_path, threads=2)
    file = tmp_path / "line.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    assert load_line(file) == config
    assert (config.on_fault, config.timing.deadline_ms) == ("review", 1000)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timming": {}}, "timming: unknown key (did you mean timing"),
        ({"timing": {"deadline": 3}}, "timing.deadline: unknown key (did you mean deadline_ms"),
        ({"on_fault": "accept"}, "on_fault: must be 'review' or 'reject', got 'accept'"),
        ({"sinks": []}, "sinks: must hold at least 1"),
        (
            {"sinks": [{"jsonl": {"path": "a"}, "required": False}]},
            "sinks: the last one moves the flap, so it must be required",
        ),
        ({"sinks": [{}]}, "must be one of jsonl, csv, mqtt, modbus, opcua, got none"),
        (
            {"source": {"folder": {"path": "a"}, "video": {"path": 0}}},
            "source: must be one of folder, video, generator, http, got folder and video",
        ),
        ({"source": {"generator": {"function": "frames"}}}, "must be module:function such as"),
        ({"source": {"generator": {"function": "a-b:c"}}}, "must be module:function such as"),
        ({"source": {"video": {"path": 0, "box": [0, 0, 0, 4]}}}, "none below 0, got [0, 0, 0"),
        ({"source": {"folder": {"path": "a"}, "piece": "("}}, "must be a regular expression"),
        ({"source": {"folder": {"path": "a"}, "piece": "a"}}, "must have one group, got 0"),
        ({"sinks": [{"modbus": {"host": "plc", "address": 65530}}]}, "address: must be in [0, "),
        ({"sinks": [{"opcua": {"url": "http://a", "node": "ns=2;s=D"}}]}, "^opc"),
        ({"sinks": [{"mqtt": {"host": "a", "topic": "a/#"}}]}, "topic"),
        (
            {"sinks": [{"mqtt": {"host": "a", "password_file": "p"}}]},
            "user: required where a password_file is given",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, changes, said) -> None:
    assert said in mistakes(tmp_path, **changes)


def test_a_password_stands_in_a_file(tmp_path) -> None:
    (tmp_path / "password").write_text("secret\n")
    settings = MqttSettings(host="a", user="line", password_file=tmp_path / "password")
    assert settings.password == "secret"
    assert MqttSettings(host="a").password is None


def test_every_key_says_what_it_means() -> None:
    def check(model) -> None:
        for name, field in model.model_fields.items():
            inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
            models = [one for one in inner if hasattr(one, "model_fields")]
            for one in models:
                check(one)
            assert models or field.description or name == "sinks", (model, name)

    check(LineConfig)
