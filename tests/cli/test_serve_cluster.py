"""What `colmodern serve --ray` prints of the version that answers."""

from __future__ import annotations

import pytest

from colmodern.cli.serve_cluster import serve_shards
from colmodern.config.models import EncoderConfig
from colmodern.service.settings import ServeSettings


def test_the_address_is_printed_of_gateways_that_the_command_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServeSettings(
        port=9, encoder=EncoderConfig(model="colmodern/tiny"), indexes={"docs": "shards"}
    )
    printed = []
    for version in ("docs.000001", "docs.000002"):
        monkeypatch.setattr(
            "colmodern.service.cluster.serve_on_cluster", lambda *_, version=version, **__: version
        )
        serve_shards("auto", settings, {})
        printed.append(capsys.readouterr().out)
    assert printed[0] == "docs.000001 answers at http://127.0.0.1:9/v1/indexes/docs\n"
    assert printed[1].startswith("docs.000002 answers in the place of the version before")
    assert "http://" not in printed[1]
