"""Parts of speech: spaCy's model where it is installed, else NLTK's tagger, else TextBlob's lexicon, which ships with it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from forge.config import MessagesConfig
from forge.errors import ConfigError

SPACY_MODEL = "en_core_web_sm"
NLTK_DATA = "taggers/averaged_perceptron_tagger_eng"


class PartOfSpeech:
    """Tags sentences with the Penn Treebank's tags; `name` says whose they are."""

    def __init__(self, config: MessagesConfig) -> None:
        """Raises `ConfigError` when the tagger that the configuration names is not installed."""
        wanted = {"auto": ("spacy", "nltk", "words")}.get(config.tagger, (config.tagger,))
        self.name = next((name for name in wanted if _THERE[name]()), "")
        if not self.name:
            raise ConfigError(
                f"mining.messages.tagger is {config.tagger}, which is not installed; {_CURES[config.tagger]}, or set it to auto"
            )

    def __call__(self, sentence: str) -> Sequence[tuple[str, str]]:
        """Each word with its tag."""
        return _TAG[self.name](sentence)


@cache
def verbs() -> frozenset[str]:
    """What commits are apt to begin with: taggers that were trained on newspapers take many of these for nouns."""
    plain = (resources.files("forge.mining.quality") / "verbs.txt").read_text(encoding="utf-8").split()
    return frozenset(form for verb in plain for form in _forms(verb))


def _forms(verb: str) -> tuple[str, ...]:
    """The verb, its third person, its past and its participle, by the rules that hold for most."""
    stem = verb.removesuffix("e")
    if verb.endswith("y") and verb[-2:-1] not in "aeou":
        return verb, verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"
    doubled = verb + verb[-1]
    return verb, verb + "s", verb + "es", stem + "ed", stem + "ing", doubled + "ed", doubled + "ing"


def _has_spacy() -> bool:
    return importlib.util.find_spec("spacy") is not None and importlib.util.find_spec(SPACY_MODEL) is not None


def _has_nltk() -> bool:
    if importlib.util.find_spec("nltk") is None:
        return False
    import nltk.data  # slow to import, so only where it may be of use

    try:
        nltk.data.find(NLTK_DATA)
    except LookupError:
        return False
    return True


def _has_words() -> bool:
    return importlib.util.find_spec("textblob") is not None


def _by_spacy(sentence: str) -> list[tuple[str, str]]:
    return [(token.text, token.tag_) for token in _spacy()(sentence)]


def _by_nltk(sentence: str) -> list[tuple[str, str]]:
    import nltk

    return [(word, tag) for word, tag in nltk.pos_tag(nltk.wordpunct_tokenize(sentence))]


def _by_words(sentence: str) -> list[tuple[str, str]]:
    return [(word, tag) for word, tag in _textblob().tag(sentence)]


@cache
def _spacy() -> Any:
    import spacy

    return spacy.load(SPACY_MODEL, disable=["parser", "ner", "lemmatizer"])


@cache
def _textblob() -> Any:
    from textblob.en.taggers import PatternTagger

    return PatternTagger()


_THERE = {"spacy": _has_spacy, "nltk": _has_nltk, "words": _has_words}
_TAG = {"spacy": _by_spacy, "nltk": _by_nltk, "words": _by_words}
_CURES = {
    "spacy": f"pip install spacy and run python -m spacy download {SPACY_MODEL}",
    "nltk": "run python -m nltk.downloader averaged_perceptron_tagger_eng",
    "words": "pip install textblob",
    "auto": "pip install textblob",
}
