"""One line on how long documents were cut or split."""

from __future__ import annotations

from collections.abc import Mapping


def overflow(facts: Mapping[str, float]) -> str:
    """How many documents were cut or split, and what share of the tokens is lost.

    Args:
        facts: sums of TokenizedTexts.facts.
    """
    if facts.get("n_split"):
        return f"{facts['n_split']:,} documents split into windows, 0 truncated"
    cut = facts["n_cut_tokens"]
    share = cut / max(1, cut + facts["n_input_tokens"])
    return f"{facts['n_truncated']:,} documents truncated, {share:.1%} of all tokens cut"
