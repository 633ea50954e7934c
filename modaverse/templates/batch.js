"use strict";
// Rows are data; only those in view have elements. Each card has the same height, so that the place of any
// row follows from its number. Whatever a row says is set as text, never as markup.
const MEDIA = ["image", "video", "audio"];
const HEIGHT = 212, GAP = 12, WIDTH = 420, MARGIN = 3;
const all = JSON.parse(document.getElementById("data").textContent);
const [list, find, which, order, shown, whole] =
  ["rows", "find", "which", "order", "shown", "whole"].map((id) => document.getElementById(id));
let view = [], drawn = new Map(), columns = 1;

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

const words = (parts) => parts.filter(([kind]) => kind === "text").map(([, text]) => text).join("").trim();
const media = (parts) => parts.filter(([kind]) => MEDIA.includes(kind));
const time = (seconds) => seconds >= 100 ? `${(seconds / 60).toFixed(1)} min` : `${seconds.toFixed(1)} s`;
const title = (row) => row.id === undefined ? `line ${row.line}` : row.id;

for (const row of all) {
  row.ask ??= [];
  row.parts ??= [];
  row.made = media(row.parts);
  row.answer = words(row.parts);
  row.text = [title(row), words(row.ask), row.answer, row.cause ?? "", ...row.parts.map(([, text]) => text)]
    .join("\n").toLowerCase();
}

const TESTS = {
  all: () => true,
  answered: (row) => !row.cause,
  failed: (row) => Boolean(row.cause),
  words: (row) => !row.cause && !row.made.length,
  odd: (row) => row.cut || row.parts.some(([kind]) => kind === "fault"),
};
for (const kind of MEDIA) TESTS[kind] = (row) => row.made.some(([made]) => made === kind);
const ORDERS = {
  line: (a, b) => a.line - b.line,
  slow: (a, b) => b.seconds - a.seconds,
  long: (a, b) => b.answer.length - a.answer.length,
};

function totals() {
  const failed = all.filter((row) => row.cause).length;
  const seconds = all.reduce((sum, row) => sum + row.seconds, 0);
  const facts = [["rows", all.length], ["answered", all.length - failed, "good"], ["failed", failed, failed ? "bad" : ""]];
  for (const [kind, label] of [["image", "pictures"], ["video", "clips"], ["audio", "sounds"]]) {
    facts.push([label, all.reduce((sum, row) => sum + row.made.filter(([made]) => made === kind).length, 0)]);
  }
  facts.push(["on average", time(all.length ? seconds / all.length : 0)], ["in all", time(seconds)]);
  for (const [label, value, look] of facts) {
    const fact = make("span");
    fact.append(make("b", look, value.toLocaleString()), ` ${label}`);
    document.getElementById("totals").append(fact);
  }
}

function choose() {
  const wanted = find.value.trim().toLowerCase();
  const test = TESTS[which.value];
  view = all.filter((row) => test(row) && (!wanted || row.text.includes(wanted))).sort(ORDERS[order.value]);
  shown.textContent = `${view.length.toLocaleString()} of ${all.length.toLocaleString()} rows`;
  for (const element of drawn.values()) element.remove();
  drawn.clear();
  draw();
}

function draw() {
  const width = list.clientWidth;
  const now = Math.max(1, Math.floor((width + GAP) / (WIDTH + GAP)));
  if (now !== columns) {
    columns = now;
    for (const element of drawn.values()) element.remove();
    drawn.clear();
  }
  const step = HEIGHT + GAP;
  list.style.height = `${Math.ceil(view.length / columns) * step}px`;
  const top = window.scrollY - list.offsetTop;
  const first = Math.max(0, Math.floor(top / step) - MARGIN) * columns;
  const last = Math.min(view.length, (Math.ceil((top + window.innerHeight) / step) + MARGIN) * columns);
  for (const [place, element] of drawn) {
    if (place < first || place >= last) {
      element.remove();
      drawn.delete(place);
    }
  }
  const each = (width - (columns - 1) * GAP) / columns;
  for (let place = first; place < last; place++) {
    let element = drawn.get(place);
    if (!element) {
      element = card(view[place]);
      drawn.set(place, element);
      list.append(element);
    }
    element.style.width = `${each}px`;
    element.style.height = `${HEIGHT}px`;
    element.style.left = `${(place % columns) * (each + GAP)}px`;
    element.style.top = `${Math.floor(place / columns) * step}px`;
  }
}

function card(row) {
  const element = make("article", row.cause ? "failed" : "");
  element.tabIndex = 0;
  const head = make("div", "head");
  head.append(make("b", "", title(row)), make("span", "", time(row.seconds)));
  const body = make("div", "body");
  const said = make("div", "words");
  said.append(make("p", "ask", words(row.ask) || "(no words)"));
  if (row.answer) said.append(make("p", "", row.answer));
  if (row.cause) said.append(make("p", "cause", row.cause));
  body.append(said);
  const pictures = row.made.length ? row.made : media(row.ask);
  if (pictures.length) {
    const thumbs = make("div", "thumbs");
    thumbs.append(player(pictures[0], false));
    if (pictures.length > 1) thumbs.append(make("small", "", `and ${pictures.length - 1} more`));
    body.append(thumbs);
  }
  element.append(head, body);
  element.addEventListener("click", (event) => event.target.tagName !== "AUDIO" && show(row));
  element.addEventListener("keydown", (event) => event.key === "Enter" && show(row));
  return element;
}

function player([kind, path], large) {
  const element = make({ image: "img", video: "video", audio: "audio" }[kind]);
  if (kind === "image") {
    element.alt = "picture";
    element.decoding = "async";
  } else {
    element.preload = kind === "video" ? "metadata" : "none";
    element.controls = large || kind === "audio";
    element.muted = kind === "video";
    element.loop = kind === "video";
  }
  element.src = path;
  return element;
}

function turn(parts, look) {
  const element = make("section", `turn ${look}`);
  for (const part of parts) {
    const [kind, text] = part;
    if (MEDIA.includes(kind)) element.append(player(part, true));
    else if (kind === "text") element.append(make("p", "text", text.trim()));
    else element.append(make(kind === "call" ? "code" : "div", kind, text));
  }
  return element;
}

function show(row) {
  const facts = [`line ${row.line}`, time(row.seconds)];
  if (row.seed !== undefined) facts.push(`seed ${row.seed}`);
  if (row.cut) facts.push("cut off");
  const close = make("button", "", "Close");
  close.addEventListener("click", () => whole.close());
  const footer = make("footer");
  footer.append(close, make("span", "", facts.join(" · ")));
  whole.replaceChildren(make("h1", "", title(row)), turn(row.ask, "ask"));
  if (row.parts.length) whole.append(turn(row.parts, "answer"));
  if (row.cause) whole.append(make("div", "fault", [row.cause, row.hint].filter(Boolean).join("  ")));
  whole.append(footer);
  whole.showModal();
}

document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
find.addEventListener("input", choose);
which.addEventListener("change", choose);
order.addEventListener("change", choose);
window.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
window.addEventListener("resize", () => requestAnimationFrame(draw));
whole.addEventListener("click", (event) => event.target === whole && whole.close());
whole.addEventListener("close", () => whole.replaceChildren());
totals();
choose();
