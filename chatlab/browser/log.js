// A log of messages that grow, drawn from `full` and `delta` messages of its source: a kernel, which sends what is whole
// compressed, or a page's own record of a server's events. Text becomes text nodes only.
//
// Law: whatever messages are lost, the text is the source's once a `full` arrives. A delta says where it begins; one
// that begins too late shows a loss, and one request for everything goes out. Offsets count code points, as Python does.

const TEXT_CAP = 200_000; // characters on screen
const STEP_CAP = 2_000; // chips and rows on screen
const BLOCK_LEN = 2_000; // characters in one block: the browser lays out a block anew whenever it grows
const WHY = {
  eos: "done", stop: "done, at a stop string", length: "cut at the token limit",
  cancelled: "stopped, the text so far is kept", error: "failed",
};
const SIGNS = { " ": "\u00b7", "\n": "\u23ce", "\r": "\u240d", "\t": "\u21e5", "\u00a0": "\u237d", "\u2581": "\u2581" };

/** Make an element; children that are strings become text nodes. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Show what does not show: white space as signs, controls, marks of direction and invisible ones as escapes. */
function visible(text) {
  return text.replace(/[\s\p{C}]/gu, (c) => SIGNS[c] ?? "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));
}

/** Code points of a string. */
function codePoints(text) {
  let surrogates = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit < 0xdc00) surrogates++;
  }
  return text.length - surrogates;
}

/** The text without its first `count` code points. */
function skipCodePoints(text, count) {
  let i = 0;
  for (; count > 0; count--) i += text.codePointAt(i) > 0xffff ? 2 : 1;
  return text.slice(i);
}

async function inflate(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** Text that grows at its end and loses its beginning when it passes the cap. */
class GrowingText {
  constructor(element) {
    this.element = element;
    this.shown = 0; // UTF-16 units on screen
    this.isCut = false;
  }

  set(text, isCut) {
    if (this.element.textContent !== text) {
      this.element.replaceChildren();
      this.shown = 0;
      this.isCut = false;
      this.append(text);
    }
    this.isCut ||= isCut;
  }

  append(text) {
    this.shown += text.length;
    while (text) {
      let block = this.element.lastElementChild;
      if (!block || block.dataset.full) {
        block = make("div", { class: "cl-block" });
        block.append(document.createTextNode(""));
        this.element.append(block);
      }
      const node = block.firstChild;
      const room = BLOCK_LEN - node.length;
      let cut = text.indexOf("\n", Math.max(room, 0)) + 1;
      if (!cut || cut > room + BLOCK_LEN) cut = room + 8 * BLOCK_LEN; // one very long line breaks where it must
      if (cut < text.length && (text.charCodeAt(cut) & 0xfc00) === 0xdc00) cut++; // never inside a character
      node.appendData(text.slice(0, cut));
      if (cut <= text.length) block.dataset.full = "1";
      text = text.slice(cut);
    }
    while (this.shown > TEXT_CAP && this.element.children.length > 1) {
      this.shown -= this.element.firstElementChild.firstChild.length;
      this.element.firstElementChild.remove();
      this.isCut = true;
    }
  }
}

/** A text with channels: reasoning folded, tool calls in blocks, delimiters left out. Without channels, a growing text. */
class ChannelText {
  constructor(element) {
    this.element = element;
    this.plain = new GrowingText(element);
    this.clear();
  }

  get isCut() { return this.plain.isCut || this.cut; }

  clear() {
    this.at = 0; // code points drawn or left out
    this.kind = null;
    this.section = null; // null: what comes is a delimiter
    this.cut = false;
    this.text = ""; // what is drawn and its runs, to leave it alone when it comes again; null where that is not known
    this.runs = [];
  }

  set(text, start, runs) {
    if (!runs.length) return this.plain.set(text, start > 0);
    if (start === 0 && this.text === text && sameRuns(this.runs, runs)) return; // a reader's focus and selection stay
    const open = [...this.element.querySelectorAll("details")].map((details) => details.open);
    this.element.replaceChildren();
    this.plain.shown = 0;
    this.clear();
    this.at = start;
    this.cut = start > 0;
    const current = runs.findLastIndex(([begin]) => begin <= start);
    this.append(text, [[start, runs[Math.max(current, 0)][1]], ...runs.slice(current + 1)]);
    this.element.querySelectorAll("details").forEach((details, index) => { details.open = open[index] ?? false; });
    [this.text, this.runs] = [text, [...runs]];
  }

  append(text, runs, at = this.at) {
    if (!this.kind && !runs.length) return this.plain.append(text);
    this.at = at;
    if (!this.kind && this.plain.shown) { // what came before the first channel was content, and is drawn already
      this.kind = "content";
      this.section = this.plain;
      this.text = this.plain.isCut ? null : this.element.textContent;
    }
    if (this.text !== null) this.text += text;
    this.runs.push(...runs);
    for (const [start, kind] of runs) {
      if (start < this.at) continue;
      text = this.draw(text, start - this.at);
      if (kind !== this.kind) this.begin(kind);
    }
    this.draw(text, Infinity);
  }

  draw(text, count) {
    const rest = count === Infinity ? "" : skipCodePoints(text, Math.min(count, codePoints(text)));
    const head = text.slice(0, text.length - rest.length);
    if (head && this.section) this.section.append(head);
    this.at += codePoints(head);
    return rest;
  }

  begin(kind) {
    this.kind = kind;
    this.section = null;
    if (kind === "delimiter") return;
    const inside = make("div", { class: "cl-" + kind, dir: "auto" });
    const folded = kind === "reasoning" ? make("details", {}, make("summary", {}, "Reasoning"), inside) : inside;
    if (kind === "tool_call") inside.setAttribute("aria-label", "Tool call"), inside.setAttribute("role", "group");
    this.element.append(folded);
    this.section = new GrowingText(inside);
  }
}

/** Whether runs tell the same; that a text begins as content need not be told. */
function sameRuns(runs, others) {
  const told = (list) => JSON.stringify(list.filter(([start, kind]) => start > 0 || kind !== "content"));
  return told(runs) === told(others);
}

/** What is drawn of a message without the labels of its parts, which stand in paragraphs of their own. */
function wordsOf(pre) {
  let words = "";
  for (const part of pre.children) {
    if (words && !part.matches(".cl-block")) words += "\n\n";
    words += (part.matches("details") ? part.lastElementChild : part).textContent;
  }
  return words;
}

/** A token: its piece as it shows, its id, and how sure the model was, where that is known. */
function createChip(shown, id, special, logprob) {
  const facts = ["id " + (id ?? "none")];
  if (special) facts.push("special token");
  if (logprob !== null) facts.push("logprob " + logprob.toFixed(3));
  const p = logprob === null ? 1 : Math.exp(logprob);
  const kind = "cl-chip" + (special ? " cl-special" : "") + (p < 0.1 ? " cl-unlikely" : "");
  const chip = make("span", { class: kind, title: facts.join(", ") }, (special ? "\u25c6" : "") + shown);
  chip.style.setProperty("--cl-doubt", (1 - p).toFixed(3));
  chip.append(make("small", {}, id === null ? "" : String(id)));
  return chip;
}

/** One message: its text, its tokens as chips, and what its buffer did. */
class Message {
  constructor(id) {
    this.role = make("span", { class: "cl-role" });
    this.why = make("span", { class: "cl-why" });
    this.cut = make("p", { class: "cl-note", hidden: true },
      "\u2026 only the end is drawn; the whole text is kept");
    this.pre = make("div", { class: "cl-text", dir: "auto" });
    this.held = make("span", { class: "cl-held", hidden: true });
    this.chips = make("div", { class: "cl-chips" });
    this.rows = make("tbody");
    const head = ["token", "came in", "went out", "held back", "why"].map((name) => make("th", { scope: "col" }, name));
    const table = make("table", { class: "cl-steps" }, make("thead", {}, make("tr", {}, ...head)), this.rows);
    this.element = make("div", { class: "cl-message", "data-id": id },
      make("div", { class: "cl-head" }, this.role, this.why), this.cut, this.pre, this.held, this.chips, table);
    this.text = new ChannelText(this.pre);
    this.length = 0; // code points, cut ones included
    this.stepLength = 0;
    this.tokens = 0;
    this.finish = null;
  }

  setFull(full) {
    this.role.textContent = full.role;
    this.element.dataset.role = full.role;
    this.text.set(full.text, full.start, full.runs ?? []);
    this.length = full.start + codePoints(full.text);
    this.chips.replaceChildren();
    this.rows.replaceChildren();
    this.addSteps(full.steps);
    this.stepLength = full.steps_start + full.steps.length;
    this.tokens = full.tokens;
    this.finish = full.why;
    this.seconds = full.seconds;
    this.error = full.error;
    this.setHeld(full.held, full.waiting);
    this.draw();
  }

  /** Take a delta; false says that something before it is missing. */
  addDelta(delta) {
    if (delta.start > this.length || (delta.steps.length && delta.steps_start > this.stepLength)) return false;
    const text = skipCodePoints(delta.text, Math.min(this.length - delta.start, codePoints(delta.text)));
    this.text.append(text, delta.runs ?? [], this.length);
    this.length += codePoints(text);
    const steps = delta.steps.slice(this.stepLength - delta.steps_start);
    this.addSteps(steps);
    this.stepLength += steps.length;
    this.tokens = Math.max(this.tokens, delta.tokens);
    this.setHeld(delta.held, delta.waiting);
    this.draw();
    return true;
  }

  draw() {
    this.why.textContent = this.finish === null ? "" : (WHY[this.finish] ?? this.finish);
    if (this.error) this.why.textContent += ": " + this.error;
    this.element.dataset.finish = this.finish ?? "";
    this.cut.hidden = !this.text.isCut;
  }

  setHeld(held, waiting) {
    this.held.hidden = !held;
    this.held.textContent = held ? visible(held) : "";
    if (held && waiting) this.held.append(make("span", { class: "cl-waiting" }, " held: " + waiting));
  }

  addSteps(steps) {
    for (const [id, piece, logprob, special, raw, out, held, why] of steps.slice(-STEP_CAP)) {
      const shown = visible(piece || raw);
      const chip = createChip(shown, id, special, logprob);
      if (piece || raw) this.chips.append(chip); // the end has no token of its own
      this.rows.append(make("tr", { class: held || why ? "cl-waits" : "" }, ...[
        shown, visible(raw), visible(out), visible(held), why].map((cell) => make("td", {}, cell))));
    }
    while (this.chips.children.length > STEP_CAP) this.chips.firstElementChild.remove();
    while (this.rows.children.length > STEP_CAP) this.rows.firstElementChild.remove();
  }
}

/** The log of one view: draws the kernel's messages, keeps its end in sight, asks again when something is missing. */
function createLog(model, label) {
  const element = make("div", { class: "cl-log", role: "log", "aria-live": "polite", "aria-label": label, tabindex: 0 });
  const inside = make("div");
  element.append(inside);
  const messages = new Map();
  const watchers = [];
  let retry = 0; // timer of the one request under way
  let atEnd = true;
  let touched = 0; // until when a scroll is a person's
  let queue = Promise.resolve();

  // One request at a time. An answer may be lost, or late because the kernel is busy: so again after 1, 2, 4 … s.
  const ask = (wait = 1000) => {
    if (retry) return;
    model.send({ kind: "sync" });
    retry = setTimeout(() => { retry = 0; ask(2 * wait); }, wait);
  };
  const answered = () => { clearTimeout(retry); retry = 0; };
  const stick = () => { if (atEnd) element.scrollTop = element.scrollHeight; };
  const resized = new ResizeObserver(() => stick()); // a block off the screen has a guessed height until it is drawn
  resized.observe(inside);
  const changed = () => {
    for (const watch of watchers) watch();
    stick();
  };
  const setFull = (full) => {
    if (!messages.has(full.id)) {
      const message = new Message(full.id);
      messages.set(full.id, message);
      inside.append(message.element);
    }
    messages.get(full.id).setFull(full);
  };
  const setAll = (all) => {
    answered();
    const kept = new Set(all.map((full) => full.id));
    for (const [id, message] of messages) {
      if (!kept.has(id)) {
        message.element.remove();
        messages.delete(id);
      }
    }
    all.forEach(setFull);
  };
  const receive = async (content, buffers) => {
    if (content.kind === "delta") {
      const message = messages.get(content.id);
      if (!message || !message.addDelta(content)) ask();
    } else if (content.kind === "full") setFull(content.body ?? await inflate(buffers[0]));
    else if (content.kind === "all") setAll(content.body ?? await inflate(buffers[0]));
    else return;
    changed();
  };
  const onMessage = (content, buffers) => { queue = queue.then(() => receive(content, buffers)); };
  // Only a person leaves the end: the browser itself scrolls, too, when heights change.
  const onInput = (event) => { touched = performance.now() + (event.type === "pointerdown" ? 3000 : 500); };
  const onScroll = () => {
    if (performance.now() < touched) atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 8;
  };
  const onShow = () => { element.dataset.show = model.get("show"); answered(); ask(); };

  model.on("msg:custom", onMessage);
  model.on("change:show", onShow);
  element.addEventListener("scroll", onScroll, { passive: true });
  for (const type of ["wheel", "touchmove", "keydown", "pointerdown"]) element.addEventListener(type, onInput, { passive: true });
  onShow();
  return {
    element,
    messages,
    last: () => [...messages.values()].at(-1),
    running: () => [...messages.values()].some((message) => message.finish === null),
    watch: (callback) => watchers.push(callback),
    close: () => {
      model.off("msg:custom", onMessage);
      model.off("change:show", onShow);
      answered();
      resized.disconnect();
    },
  };
}

/** What is going on, in a few words. */
function statusOf(message, busy) {
  if (!message) return "";
  const tokens = message.tokens ? ", " + message.tokens.toLocaleString("en") + " tokens" : "";
  if (message.finish === null) return busy + tokens;
  const seconds = message.seconds === null ? "" : ", " + message.seconds.toFixed(2) + " s";
  return (WHY[message.finish] ?? message.finish) + tokens + seconds;
}

/** Let a button do nothing for now. The attribute `disabled` would take the focus away, and with it Esc. */
function setOff(button, isOff) {
  button.setAttribute("aria-disabled", isOff);
}

/** A button that stops when it is pressed: by the release, text that grows may have pushed it from under the pointer. */
function createStop(stop) {
  // The click that ends a press would stop the next reply, which may have begun meanwhile; that of a key has no detail.
  const onclick = (event) => { if (event.detail === 0) stop(); };
  return make("button", { type: "button", class: "cl-stop", onpointerdown: stop, onclick }, "Stop");
}

const SHOWN = { text: "Text", tokens: "Tokens", buffer: "Buffer" };

/** A radio button for each way to show a text. */
function createSwitch(model, name, labels = SHOWN) {
  const inputs = Object.keys(labels).map((value) => make("input", {
    type: "radio", name, value, onchange: () => { model.set("show", value); model.save_changes(); } }));
  const draw = () => { for (const input of inputs) input.checked = input.value === model.get("show"); };
  const items = inputs.map((input) => make("label", {}, input, labels[input.value]));
  model.on("change:show", draw);
  draw();
  return {
    element: make("fieldset", { class: "cl-switch" }, make("legend", {}, "Show"), ...items),
    close: () => model.off("change:show", draw),
  };
}

/** A button that copies what is drawn of a message, and selects it where the page may not use the clipboard. */
function createCopy(source, say) {
  return make("button", { type: "button", class: "cl-copy", onclick: async () => {
    const message = source();
    if (!message) return;
    const text = wordsOf(message.pre);
    const part = message.text.isCut ? " the last " + codePoints(text).toLocaleString("en") + " characters only" : "";
    try {
      await navigator.clipboard.writeText(text);
      say("copied" + part);
    } catch {
      getSelection().selectAllChildren(message.pre);
      say("selected" + part + ": press Ctrl+C");
    }
  } }, "Copy");
}
