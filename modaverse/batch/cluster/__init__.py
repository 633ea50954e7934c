"""A batch on many machines: the LLM and the generators as two crews of Ray actors that scale apart.

    driver     rows ─► RayEngine ─► crew of LLM workers ─► outcomes ─► journal, report
                                      │         ▲
    desk                   calls ─────▼         │ media
                                    Desk ─► crew of generator workers

engine    the driver's side: implements `batch.engine.Engine`, so that all that is written is written as ever
crew      workers that may die, and work that must not be lost with them; knows nothing of Ray
workers   what runs in the actors
pool      a pool of generators that are elsewhere, as an LLM worker has it
parts     what an LLM worker and a generator worker are made of
parcels   values that travel with the content of their media: machines need share no files
scratch   folders for files that are needed only while something is in flight
link      Ray itself: its start, its actors, its errors. No other module imports it.
"""
