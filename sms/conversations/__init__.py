"""What a text means, and what is said to it: pure functions over plain values, without Django, database or clock.

``hear`` goes from the state and a text to the next state, an intent, an action for an operation and perhaps a reply;
``answer`` goes from the state and what the operation found to the next state and a reply; ``wordings.word`` puts a reply
into words.

Source: PBT-14, PBT-15, PBT-16, PBT-17; evidence 3.2, 3.3.
"""

from sms.conversations.answers import answer
from sms.conversations.hearing import GUIDANCE_EVERY, hear
from sms.conversations.states import Account, Conversation, Facts, Heard, Language, Message, Reply, Said, Standing

__all__ = [
    "GUIDANCE_EVERY",
    "Account",
    "Conversation",
    "Facts",
    "Heard",
    "Language",
    "Message",
    "Reply",
    "Said",
    "Standing",
    "answer",
    "hear",
]
