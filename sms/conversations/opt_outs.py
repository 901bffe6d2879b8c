"""Telling whether a text asks to be left alone: by word, by words with courtesies, by phrase, by sign.

Carriers match the bare word alone; a person also understands "please stop" and "leave me alone". Each match says
by which rule, so that a CSR can see why somebody was opted out. A text that speaks of stopping without asking for it surely
("don't stop") is doubtful, which is no match.

Source: PBT-15; evidence 3.2, 3.4 (47 CFR 64.1200(a)(10)).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sms.conversations import words
from sms.conversations.bodies import Body
from sms.conversations.states import Language, Match, Review, Rule

_WHOLE: Mapping[str, Language] = {**words.WEAK, **words.STRONG}
_PHRASES: Mapping[str, Sequence[tuple[tuple[str, ...], Language]]]
_by_head: dict[str, list[tuple[tuple[str, ...], Language]]] = defaultdict(list)
for _language, _phrases in ((Language.ENGLISH, words.ENGLISH_PHRASES), (Language.SPANISH, words.SPANISH_PHRASES)):
    # The longest first, and always in the same order: the rule that is told must not depend on the day.
    for _phrase in sorted(_phrases, key=lambda phrase: (-len(phrase), phrase)):
        _by_head[_phrase[0]].append((_phrase, _language))
_PHRASES = dict(_by_head)
# More words than this between two of a phrase are another sentence.
_GAP = 5


def find(body: Body) -> Rule | None:
    """Give the rule by which a text opts out, or ``None``."""
    return _whole(body) or _clause(body) or _phrase_in(body)


def review(body: Body, rule: Rule) -> Review | None:
    """Tell why a CSR should also read a text that opts out."""
    if any(token in words.CANCEL_WORDS for token in body.tokens):
        return Review.CANCEL
    if tuple(rule.wording.split()) in words.WRONG_NUMBER:
        return Review.WRONG_NUMBER
    return None


def is_doubtful(body: Body) -> bool:
    """Tell whether a text that does not opt out still speaks of it."""
    return any(token in words.DOUBTFUL for token in body.tokens)


def _whole(body: Body) -> Rule | None:
    word = body.raw.strip().casefold()
    if word in _WHOLE:
        match = Match.EMOJI if word in words.OPT_OUT_SIGNS else Match.EXACT
        return Rule(match, word, _WHOLE[word])
    polite = "".join(body.without(words.COURTESIES))
    for compact in (body.compact, polite):
        if compact in _WHOLE:
            match = Match.EMOJI if compact in words.OPT_OUT_SIGNS else Match.NORMALISED
            return Rule(match, compact, _WHOLE[compact])
    return None


def _clause(body: Body) -> Rule | None:
    """Find a clause of strong words, fillers and nothing else."""
    for clause in (body.tokens, *body.clauses):
        strong = [token for token in clause if token in words.STRONG]
        if not strong:
            continue
        language = words.STRONG[strong[0]]
        fillers = words.OPT_OUT_FILLERS[language]
        if all(token in words.STRONG or token in fillers or token.isdecimal() for token in clause):
            match = Match.EMOJI if strong[0] in words.OPT_OUT_SIGNS else Match.NORMALISED
            return Rule(match, strong[0], language)
    return None


def _phrase_in(body: Body) -> Rule | None:
    # By clause first: "No, don't. Stop texting me." is turned round only if read as one.
    for clause in (*body.clauses, body.tokens):
        spoken = [token for token in clause if token not in words.OPT_OUT_SIGNS]
        for start, token in enumerate(spoken):
            for phrase, language in _PHRASES.get(token, ()):
                if _continues(spoken, start, phrase) and not _turned_round(spoken, start, language):
                    return Rule(Match.PHRASE, " ".join(phrase), language)
    return None


def _continues(spoken: Sequence[str], start: int, phrase: Sequence[str]) -> bool:
    position = start
    for word in phrase[1:]:
        position += 1
        gap = 0
        while position < len(spoken) and spoken[position] != word and spoken[position] in words.SKIPPED and gap < _GAP:
            position, gap = position + 1, gap + 1
        if position >= len(spoken) or spoken[position] != word:
            return False
    return True


def _turned_round(spoken: Sequence[str], start: int, language: Language) -> bool:
    negated = supposed = False
    for token in reversed(spoken[:start]):
        if token in words.NEGATORS[language]:
            negated = True
        elif token in words.SUPPOSERS:
            supposed = True
        elif token not in words.LINKS:
            break
    return negated is not supposed
