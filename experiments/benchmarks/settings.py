"""Which engines there are, and the settings each is measured with."""

from __future__ import annotations

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """Options of a build and of the searches in that index."""

    build: dict[str, Any]
    search: dict[str, Any]


# engine -> its package; peers run in an environment of their own
PACKAGES = {
    "colmodern": "colmodern",
    "exact": "colmodern",
    "fast-plaid": "fast-plaid",
    "xtr-warp": "xtr-warp-rs",
}
PEERS = ("fast-plaid", "xtr-warp")

_PLAID = {"nbits": 4}
# the first setting of an engine is its default; a curve is drawn through those of one build
SETTINGS: dict[str, list[Setting]] = {
    "colmodern": [
        Setting(_PLAID, {}),
        Setting(_PLAID, {"rescore": True}),
        *(
            Setting(_PLAID, {"nprobe": nprobe, "n_candidates": n_candidates})
            for nprobe, n_candidates in ((4, 128), (8, 512), (32, 2048))
        ),
        *(
            Setting({"nbits": nbits}, search)
            for nbits in (1, 2)
            for search in ({}, {"rescore": True})
        ),
        Setting({"nbits": 4, "codec": "pq"}, {}),
    ],
    "exact": [Setting({}, {})],
    "fast-plaid": [
        Setting({}, {"n_ivf_probe": 8, "n_full_scores": 4096}),
        Setting({}, {"n_ivf_probe": 4, "n_full_scores": 1024}),
    ],
    "xtr-warp": [Setting({}, {}), Setting({}, {"nprobe": 32}), Setting({}, {"nprobe": 64})],
}


def label(options: dict[str, Any]) -> str:
    """Options in words: "nprobe=8 n_candidates=1024 rescore"."""
    words = [name if value is True else f"{name}={value}" for name, value in options.items()]
    return " ".join(words)


def describe(setting: Setting) -> str:
    """Both kinds of options in words; "automatic" where the search has none."""
    return "; ".join(
        word for word in (label(setting.build), label(setting.search) or "automatic") if word
    )
