"""What is said in and about Toybox: captions, requests, answers, and the language that mini's LLM learns."""
