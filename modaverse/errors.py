"""Every error that ModaVerse raises on purpose.

    ModaVerseError
    ├── InputError            what the caller gave cannot be used (exit code 2)
    │   ├── MediaError        a media file is missing, unreadable, of the wrong kind or too large
    │   ├── DataError         a row of training, evaluation or batch data is wrong
    │   ├── SettingsError     a profile, a card or an option does not hold together
    │   └── ContextOverflow   the conversation no longer fits into the model's context
    ├── ModelError            a model's files cannot be used
    │   ├── ModelNotFound     nothing lies where a model should be
    │   └── CheckpointError   files are there, but damaged, unsafe or of another architecture
    ├── GrammarError          a grammar or dialect file is wrong
    ├── GenerationError       a generator did not deliver
    │   ├── GenerationTimeout its deadline passed
    │   ├── GenerationOutOfMemory
    │   └── GenerationCancelled
    └── StorageError          results could not be written (disk full, no permission)

Each has a `hint`, one sentence that names the way out, and `retryable`, which says whether the same
call may succeed later without any change.
"""

from __future__ import annotations

from typing import ClassVar


class ModaVerseError(Exception):
    """Base of all deliberate errors: a message that names the thing, and a hint that names the way out."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(
    kind: type[ModaVerseError], args: tuple[object, ...], state: dict[str, object]
) -> ModaVerseError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(ModaVerseError):
    """What the caller gave cannot be used."""

    exit_code = 2


class MediaError(InputError):
    """A media file is missing, unreadable, of the wrong kind or too large."""


class DataError(InputError):
    """A row of training, evaluation or batch data is wrong."""


class SettingsError(InputError):
    """A profile, a card or an option does not hold together."""


class ContextOverflow(InputError):
    """The conversation no longer fits into the model's context; the message has the numbers."""


class ModelError(ModaVerseError):
    """A model's files cannot be used."""


class ModelNotFound(ModelError):
    """Nothing lies where a model should be."""


class CheckpointError(ModelError):
    """Files are there, but damaged, unsafe or of another architecture."""


class GrammarError(ModaVerseError):
    """A grammar or dialect file is wrong."""


class GenerationError(ModaVerseError):
    """A generator did not deliver."""


class GenerationTimeout(GenerationError):
    """The generator's deadline passed."""

    retryable = True


class GenerationOutOfMemory(GenerationError):
    """The generator needed more memory than there is."""

    retryable = True


class GenerationCancelled(GenerationError):
    """The request that wanted the medium was closed."""


class StorageError(ModaVerseError):
    """Results could not be written."""

    retryable = True
