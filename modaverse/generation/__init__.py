"""The pool: generators that run beside the LLM.

pool          who runs when, in which thread, and what becomes of it
pending       a call on its way, and the pool's own note of it
resident      which weights are loaded, and which go first when room is needed
pace          whether calls that could share a run are quicker so
result_cache  results by everything that decides them
failures      what goes wrong with a call, in words
"""

from modaverse.generation.pending import Call as Call
from modaverse.generation.pool import GeneratorPool as GeneratorPool
