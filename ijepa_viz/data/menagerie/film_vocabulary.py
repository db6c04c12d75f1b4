"""The words of the films' sentences, and their numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np

PADDING = "<pad>"


class Vocabulary:
    """Words with ids: 0 is padding, the others in the order given.

    Args:
        words: different ones, without spaces.

    >>> words = Vocabulary(["the", "dog", "stops"])
    >>> words.encode("the dog stops", length=5)
    array([1, 2, 3, 0, 0])
    >>> words.decode([1, 2, 3, 0, 0])
    'the dog stops'
    >>> words.encode("the dgo stops")
    Traceback (most recent call last):
    ValueError: 'dgo' is no word that the films' sentences have. Did you mean 'dog'?
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = (PADDING, *words)
        self._ids = {word: i for i, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            twice = sorted({word for word in self.words if self.words.count(word) > 1})
            raise ValueError(f"A word has one id, but these occur twice: {', '.join(twice)}.")

    def __len__(self) -> int:
        """Number of ids, the padding among them."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids and word != PADDING

    def split(self, sentence: str) -> list[str]:
        """The words of a sentence: in lower case, without commas and full stops.

        Raises:
            ValueError: a word that is not known; the message names the nearest.
        """
        words = sentence.lower().replace(",", " ").replace(".", " ").split()
        for word in words:
            if word not in self:
                near = difflib.get_close_matches(word, self.words[1:], n=1, cutoff=0.5)
                hint = f"Did you mean {near[0]!r}?" if near else f"They are {', '.join(self.words[1:])}."
                raise ValueError(f"{word!r} is no word that the films' sentences have. {hint}")
        return words

    def encode(self, sentence: str, length: int | None = None) -> np.ndarray:
        """Ids of a sentence's words, (L,) int64.

        Args:
            length: L, filled up with padding; None is the number of words.

        Raises:
            ValueError: an unknown word, or more than ``length`` words.
        """
        ids = [self._ids[word] for word in self.split(sentence)]
        if length is not None and len(ids) > length:
            raise ValueError(f"{sentence!r} has {len(ids)} words, more than the length {length}.")
        return np.array(ids + [0] * (0 if length is None else length - len(ids)), np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The sentence of some ids; padding is left out.

        Raises:
            ValueError: an id beyond the vocabulary.
        """
        numbers = [int(i) for i in ids]
        wrong = [i for i in numbers if not 0 <= i < len(self)]
        if wrong:
            raise ValueError(f"{wrong[0]} is no word's id: they run from 0 to {len(self) - 1}.")
        return " ".join(self.words[i] for i in numbers if i)
