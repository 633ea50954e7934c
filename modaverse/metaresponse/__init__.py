"""The language of meta-responses: one grammar, a streaming parser and a token mask.

    parser = StreamParser(vocabulary=vocabulary, catalogue=catalogue, sources={1: Modality.IMAGE})
    for event in parser.feed_ids([token]): ...

No module here imports torch; the mask does so when it is first given logits.
"""

from modaverse.metaresponse.catalogue import Catalogue, Limits
from modaverse.metaresponse.mask import TokenMask
from modaverse.metaresponse.parser import StreamParser
from modaverse.metaresponse.vocabulary import Vocabulary

__all__ = ["Catalogue", "Limits", "StreamParser", "TokenMask", "Vocabulary"]
