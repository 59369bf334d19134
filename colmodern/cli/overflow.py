"""One line on how long documents were cut or split."""

from __future__ import annotations

from collections.abc import Mapping


def overflow(facts: Mapping[str, float], texts: str = "documents") -> str:
    """How many documents, or queries, were cut or split, and what share of the tokens is lost.

    Args:
        facts: sums of TokenizedTexts.facts.
        texts: what they are called.
    """
    if facts.get("n_split"):
        return f"{facts['n_split']:,} {texts} split into windows, 0 truncated"
    cut = facts["n_cut_tokens"]
    share = cut / max(1, cut + facts["n_input_tokens"])
    return f"{facts['n_truncated']:,} {texts} truncated, {share:.1%} of all tokens cut"
