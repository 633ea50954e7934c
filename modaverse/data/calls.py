"""What a profile's generators take, which rows can be held against."""

from __future__ import annotations

from collections.abc import Iterator

from modaverse.generators.opening import is_card, open_generators, read_card
from modaverse.interfaces import CallSpec, Place
from modaverse.metaresponse import Catalogue
from modaverse.settings import Profile


def calls_of(profile: Profile) -> Catalogue:
    """The calls that a profile admits; weights of its generators need not be there.

    Raises:
        SettingsError: there is no such card or plug-in.
    """
    return Catalogue(spec for name in profile.generators.cards for spec in _specs(name))


def _specs(name: str) -> Iterator[CallSpec]:
    if is_card(name):
        yield from (call.spec() for call in read_card(name).calls)
    else:
        yield from (generator.spec for generator in open_generators(name, Place()))
