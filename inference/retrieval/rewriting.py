"""Turn a question into search words, for requests with `rewrite_query`."""

import re

WORD = re.compile(r"[^\W_]+(?:['\u2019.-][^\W_]+)*")

# fmt: off
FILLERS = frozenset(
    {
        "a", "about", "am", "an", "and", "any", "are", "at", "be", "been", "by", "can", "could", "did", "do",
        "does", "every", "find", "for", "from", "get", "give", "had", "has", "have", "how", "i", "i'd", "i'm",
        "if", "in", "is", "it", "its", "know", "let", "like", "looking", "may", "me", "might", "must", "my",
        "need", "of", "on", "or", "our", "please", "shall", "should", "show", "so", "some", "tell", "that",
        "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "us", "want", "was",
        "we", "were", "what", "what's", "when", "where", "which", "who", "whom", "whose", "why", "will",
        "with", "would", "you", "your",
    }
)
# fmt: on


def rewrite_query(query: str) -> str:
    """Return the query without punctuation and filler words; unchanged if it has no other words."""
    words = [word for word in WORD.findall(query) if word.lower().replace("\u2019", "'") not in FILLERS]
    return " ".join(words) or query
