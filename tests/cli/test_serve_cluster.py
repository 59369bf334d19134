"""What `colmodern serve --ray` prints of the version that answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.cli.serve_cluster import serve_shards
from colmodern.config.models import EncoderConfig
from colmodern.errors import ConfigError, InputError, StorageError
from colmodern.service.cluster import ServedVersion
from colmodern.service.settings import ServeSettings


def test_the_address_is_printed_of_gateways_that_the_command_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServeSettings(
        port=9, encoder=EncoderConfig(model="colmodern/tiny"), indexes={"docs": "shards"}
    )
    printed = []
    url = "http://127.0.0.1:9/v1/indexes/docs"
    # versions that lost gateways left behind count on
    for version in (ServedVersion("docs.000003", url), ServedVersion("docs.000004", None)):
        monkeypatch.setattr(
            "colmodern.service.cluster.serve_on_cluster", lambda *_, version=version, **__: version
        )
        serve_shards("auto", settings, {})
        printed.append(capsys.readouterr().out)
    assert printed[0] == f"docs.000003 answers at {url}\n"
    assert printed[1].startswith("docs.000004 answers in the place of the version before")
    assert "http://" not in printed[1]


def test_keys_that_no_gateway_could_read_are_refused_before_shards_start(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("short\n")
    for keys, message in (("nothing", "cannot read"), ("keys", "line 1 is no key")):
        settings = ServeSettings(
            api_key_file=str(tmp_path / keys),
            encoder=EncoderConfig(model="colmodern/tiny"),
            indexes={"docs": "shards"},
        )
        with pytest.raises(ConfigError, match=message):
            serve_shards("127.0.0.1:1", settings, {})


def test_shards_that_are_not_there_are_refused_before_the_cluster_is_reached(
    tmp_path: Path,
) -> None:
    settings = ServeSettings(
        encoder=EncoderConfig(model="colmodern/tiny"), indexes={"docs": str(tmp_path / "nothing")}
    )
    with pytest.raises(StorageError, match="there is no folder"):
        serve_shards("127.0.0.1:1", settings, {})
    with pytest.raises(InputError, match="replicas=0"):
        serve_shards("127.0.0.1:1", settings, {"replicas": 0})
