from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.cli.main import main


def run(*arguments: object, capfd: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["warmup", *map(str, arguments)])
    return ended.value.code, *capfd.readouterr()


def test_kernels_of_an_index_are_compiled(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    PlaidIndex.build(TokenEmbeddings(values, np.arange(0, 61, 3)), tmp_path / "i", range_of(20))
    code, out, _ = run(tmp_path / "i", capfd=capfd)
    assert code == 0
    assert [line.split("  ")[-1] for line in out.splitlines()[:-1]] == [
        f"{way}, {tmp_path / 'i'}" for way in ("search in one call", "search by steps")
    ]
    code, out, _ = run(tmp_path / "i", "--json", capfd=capfd)
    assert code == 0
    listed = json.loads(out)
    assert Path(listed["cache"]).is_dir()
    assert [kernels["seconds"] < 1 for kernels in listed["compiled"]] == [True] * 2  # in the cache


def range_of(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_a_folder_that_is_no_index_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(tmp_path, capfd=capfd)
    assert (code, out) == (2, "")
    assert str(tmp_path) in err


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "colmodern", "warmup"],
        env={**os.environ, "COLMODERN_CACHE": str(tmp_path / "file")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: compiled kernels cannot be kept in" in done.stderr


@pytest.mark.slow
def test_after_it_neither_a_build_nor_a_search_compiles(tmp_path: Path) -> None:
    environment = {**os.environ, "COLMODERN_CACHE": str(tmp_path)}
    for arguments in (
        ["-m", "colmodern", "warmup"],
        ["-c", _BUILD_AND_SEARCH, str(tmp_path / "indexes")],
    ):
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"


_BUILD_AND_SEARCH = """
import sys
import numpy as np
from numba.core import event
from colmodern import PlaidIndex, TokenEmbeddings

class Count(event.Listener):
    n = 0
    def on_start(self, event):
        pass
    def on_end(self, event):
        self.n += 1

listener = Count()
event.register("numba:compile", listener)
rng = np.random.default_rng(0)
values = rng.normal(size=(3000, 64)).astype(np.float16)
texts = TokenEmbeddings(values, np.arange(0, 3001, 5))
for nbits in (1, 4, 8):
    index = PlaidIndex.build(texts, f"{sys.argv[1]}/{nbits}", [str(i) for i in range(600)], nbits=nbits)
    for n_tokens in (3, 30):
        index.search(values[:n_tokens].astype(np.float32))
print(listener.n)
"""
