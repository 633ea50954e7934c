"""Batch jobs: thousands of requests from a file, unattended, with nothing lost and nothing done twice.

jobs.jsonl ─► check ─► rows to do ─► media opened ─► engine ─► journal ─► results.jsonl, errors.jsonl
              (index)                (other process)  (any order)         media/, report.html

values       rows, requests and what became of them
jobs         the file of rows, read line by line; openai.py reads and writes OpenAI's form of them
folder       what lies in the results' folder, who may write there, and what a run must agree with
journal      files that only grow, and that a killed process leaves readable
references   from the media that a row names to files: bounded, below a root, fetched only if allowed
engine       what answers rows; local.py does it in this process
run          all of it together, as a stream of events
report       one page to look through the results
"""
