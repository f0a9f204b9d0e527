"""Tells greetings and questions about the assistant from questions to the documents, by the embedder's vector.

A logistic regression over the mean of the word vectors and the number of tokens. Without it the passages that such a
message happens to be near to would be shown. `engine/benchmarks/evidence_weights.py` fits it anew, for this embedder.
"""

from __future__ import annotations

import base64
from functools import cache

import numpy as np

from sluice.retrieval.embedder import TokenStates, Vector

LIMIT = 0.7  # of the probability; engine/docs/decisions/answers-by-kind.md
_LONGEST = 30  # tokens; more do not count
# The weights of the vector, in steps of _SCALE; of the number of tokens; and the bias.
_VECTOR = (
    "!2$W->jf(4%MJbS(fIQfAODR6&Fk3)2LBlv-0$!0It35<0R8yY(&8`g{UF}?=lap*DjpP39RT6cGv@<1+$7#5+s3U493VpL56w$UBJT?L1mG"
    "1Q{sa^l*9`pS3f{fbD&8Ih)-BN)`rff5<=Pwg$qWF<{5Qfg>HFUR9lswy&+yeR-xMb<{`I~u`swWX7t8n_`Zg=de=q|F#Q^Tf<KF-74)GKi^"
    "xaF^9Soh^-3uxZ-ag?93<U1o;n@A*FA3)WYFI5#>-q2M{sk2MCF~>WRPp5<{pZ907%3Rr6!-KC0T%iY0Q30&>)fo;yGGN$z}D>xHYz>;>?H;"
    "yGXfQY?C<uD1oi?3?&v?*DcB4g8|D}V+7lKb`S|J?8rakR))ytZH{sXZM(qO(BsNDe`qI}y?Ajy%3m6<J&IbMm3+=%iBn~d=92rK*JPs#P88"
    "7G(=fwbH%jzEH2D9Ml91$oj?gtmh-y{R?DF-P493}rPG*I#5"
)
_SCALE, _OF_TOKENS, _BIAS = 0.0508, -3.44, -2.9


def figures(text: TokenStates) -> Vector:
    """What the regression is over."""
    mean = text.states.mean(axis=0)
    return np.append(mean / np.linalg.norm(mean), min(len(text.tokens), _LONGEST) / 10)


def is_small_talk(text: TokenStates) -> bool:
    """Whether a message greets, thanks, or asks about the assistant; never by an embedder of another dimension."""
    weights = _weights()
    if text.states.shape[1] != len(weights) - 1:
        return False
    return bool(1 / (1 + np.exp(-_BIAS - weights @ figures(text))) > LIMIT)


@cache
def _weights() -> Vector:
    vector = np.frombuffer(base64.b85decode(_VECTOR), np.int8) * _SCALE
    return np.append(vector, _OF_TOKENS).astype(np.float32)
