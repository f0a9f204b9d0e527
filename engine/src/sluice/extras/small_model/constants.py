"""The numbers and words of the help for a small model, chosen for the starter (decisions/answers-by-kind.md)."""

from __future__ import annotations

import re

# The score of a sentence: the nearness of the words of the question, the share that it repeats, and how far its passage
# is behind the best.
OF_ALL, OF_REPEATED, OF_PASSAGE = 0.6, 0.15, 0.8
OF_ADDED = 0.6  # of the score of a further sentence: what it adds
STEM = 5  # letters by which forms of a word are taken as one

# Reasons, steps, comparisons, stories and second turns, which say little, take a sentence more; `how many` does not.
# What defines, and what is answered by yes or no, does where all that is then answered with has few words.
_NUMBERS = "many|much|long|often|big|large|small|fast|high|low|soon|far|old|late|quickly"
_COMPARES = r"\b(?:vs|versus|compar\w+|differ\w*|between|or|than)\b"
EXPLAINS = re.compile(rf"(?i)\bwhy\b|\bhow\b(?! (?:{_NUMBERS})\b)|{_COMPARES}")
DEFINES = re.compile(
    r"(?i)^\W*(?:what(?:'s| is| are| does)|define|explain)\b(?=(?:\W+\w+){1,7}\W*$)"
    r"|\bmean(?:s|ing)?\b|\bdefin|\bstands? for\b"
)
ASKS_WHETHER = re.compile(
    r"(?i)(?:^|[.,;:?!-] )\W*(?:(?:and|so|but|then) )?"
    r"(?:(?:is|are|was|were|could|do|does|did|should|must|would|has|have|had)(?:n['’]?t)?"
    r"|am|can(?:['’]?t)?|may|might|shall|will|won['’]?t)\b"
)
DEFINED, WHETHER, STORY = 55, 45, 20  # words
# Reasons often stand beside the sentence that has the words of the question: a share of the neighbour's score, and what
# a word that announces one is worth.
WHY = re.compile(r"(?i)\bwhy\b|\breasons?\b|\bhow come\b")
REASON = re.compile(r"(?i)\b(?:because|since|so that|so(?! far)|otherwise|therefore|reason|causes?)\b")
OF_NEIGHBOUR, OF_REASON = 0.1, 0.05
OF_SAID = 0.1  # taken from a sentence of which the reply before has said three quarters

# The doubt: the weight of each figure of `sentences.py`, and what is added. Fitted.
DOUBT_WEIGHTS, DOUBT_BIAS = (1.62, -6.61, -3.52, 3.0, -6.42), -1.2
DOUBTED = 3  # sentences of which a word must be in one
# Words of the embedder's vocabulary stand there by how common they are: `the` is the first of them.
COMMONEST, RAREST, IN_PIECES = 1996, 30_522, 1.2

# Small talk: a logistic regression over the mean of the word vectors and the number of tokens, its vector in steps of
# SMALL_TALK_SCALE. Fitted.
SMALL_TALK_LIMIT = 0.7  # of the probability
SMALL_TALK_TOKENS = 30  # more do not count
SMALL_TALK_VECTOR = (
    "!2$W->jf(4%MJbS(fIQfAODR6&Fk3)2LBlv-0$!0It35<0R8yY(&8`g{UF}?=lap*DjpP39RT6cGv@<1+$7#5+s3U493VpL56w$UBJT?L1mG"
    "1Q{sa^l*9`pS3f{fbD&8Ih)-BN)`rff5<=Pwg$qWF<{5Qfg>HFUR9lswy&+yeR-xMb<{`I~u`swWX7t8n_`Zg=de=q|F#Q^Tf<KF-74)GKi^"
    "xaF^9Soh^-3uxZ-ag?93<U1o;n@A*FA3)WYFI5#>-q2M{sk2MCF~>WRPp5<{pZ907%3Rr6!-KC0T%iY0Q30&>)fo;yGGN$z}D>xHYz>;>?H;"
    "yGXfQY?C<uD1oi?3?&v?*DcB4g8|D}V+7lKb`S|J?8rakR))ytZH{sXZM(qO(BsNDe`qI}y?Ajy%3m6<J&IbMm3+=%iBn~d=92rK*JPs#P88"
    "7G(=fwbH%jzEH2D9Ml91$oj?gtmh-y{R?DF-P493}rPG*I#5"
)
SMALL_TALK_SCALE, SMALL_TALK_OF_TOKENS, SMALL_TALK_BIAS = 0.0508, -3.44, -2.9

# Spelling and language: words shorter than four letters have too many neighbours; documents with few words do not show
# what their language looks like.
WORD = re.compile(r"[^\W\d_]{4,}")
NEAR = 0.75  # on the 48 articles of training: misspelt questions find their passage in 96 % in place of 81 %
FEW = 1000  # words

# How people ask.
LONG = 20  # words
COURTESY = re.compile(
    r"(?i)^(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day))\b(?:(?: \w+){0,4}[,.!])?\s*"
    r"|\b(?:please|kindly)\b|\b(?:thanks|thank you|(?:kind|best) regards|cheers|i hope you|sorry for)\b[^.!?]*"
    r"|\bin advance\b"
)
CORRECTS = re.compile(r"(?i)^\W*(?:(?:no|oh|ah|wait|sorry|actually)\W+)*i meant?\b\W*")
LEANS = re.compile(
    r"(?i)^\W*(?:and|so|but|also|no|or|why|what (?:about|if))\b"
    r"|\bi mean|\b(?:both|same|else|its?|they|them|their|th(?:at|is|ose|ese|ere|en)|ones?|(?:an)?other|instead|the two"
    r"|latter|former|afterwards)\b"
)
PERSONAL = re.compile(r"(?i)\b(?:you(?:r|rself)?|u|am i|hello|hi|hey|this (?:chat|assistant|thing|handbook|work))\b")
ERRAND = re.compile(r"(?i)\b(?:recommend|suggest|write|translate|order|book|send|play|poem|joke)\b")
ASKS = re.compile(r"(?i)\?|\b(?:who|whats?|when|where|which|why|hows?|is|are|can|should|do|does|must|may|i meant?)\b")
ASKS_AGAIN = re.compile(r"(?i)\?|\bi meant?\b")  # in a second turn
