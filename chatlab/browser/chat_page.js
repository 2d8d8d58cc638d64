// The page of `chatlab serve`: the widgets' log over a server's events, and the glass: which ids the server read.

const PIECES = 5_000; // ids of one question for their pieces: a body has a limit

const post = (address, body, options = {}) => fetch(address, {
  method: "POST", headers: { "Content-Type": "application/json", ...options.headers }, body: JSON.stringify(body), signal: options.signal });

/** What a widget's model is to the log: traits, messages, and the whole chat when it is asked for. */
function createModel(texts) {
  const traits = { show: "text" };
  const listeners = new Map();
  const emit = (name, ...values) => (listeners.get(name) ?? []).forEach((callback) => callback(...values));
  const receive = (content) => emit("msg:custom", content, []);
  return {
    receive,
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; emit("change:" + name); },
    save_changes: () => {},
    on: (name, callback) => listeners.set(name, [...(listeners.get(name) ?? []), callback]),
    off: (name, callback) => listeners.set(name, (listeners.get(name) ?? []).filter((one) => one !== callback)),
    send: (content) => {
      if (content.kind === "sync") queueMicrotask(() => receive({ kind: "all", body: texts.map((text) => text.full()) }));
    },
  };
}

/** What the server read for one reply: its ids, those kept from before apart, and those that were lost. */
function createGlass(read, before, specialIds) {
  const { prompt_token_ids: ids, prefix } = read;
  const kept = prefix?.kept_len ?? null;
  const same = keptLen(before, ids);
  const lost = kept === null ? [] : before.slice(Math.min(kept, same));
  const words = [`Read ${ids.length} ids`];
  if (kept !== null) words.push(`${kept} kept from before`, `${ids.length - kept} read now`);
  const lostLen = prefix?.lost_len ?? lost.length;
  if (lostLen) words.push(`${lostLen} lost`);
  if (read.dropped_turns) words.push(`${read.dropped_turns} of the oldest turns left out`);
  const box = make("div", { class: "cl-ids", tabindex: 0, role: "group", "aria-label": "Ids of the prompt" });
  const chips = (some, pieces, kind, what) => some.map((id, index) => {
    const chip = createChip(visible(pieces[index] ?? ""), id, specialIds.has(id), null);
    if (kind) chip.classList.add(kind), (chip.title += ", " + what);
    return chip;
  });
  const draw = async () => {
    const pieces = [];
    for (const all = [...ids, ...lost]; pieces.length < all.length;) {
      const answer = await post("page/pieces", { token_ids: all.slice(pieces.length, pieces.length + PIECES) });
      if (!answer.ok) return box.replaceChildren(await refusalOf(answer));
      pieces.push(...(await answer.json()).pieces);
    }
    const count = kept ?? 0;
    box.replaceChildren(
      ...chips(ids.slice(0, count), pieces, "cl-kept", "kept from before"),
      ...chips(ids.slice(count), pieces.slice(count)),
      ...(lost.length ? [make("p", {}, "Lost of what was read and said before:"),
        ...chips(lost, pieces.slice(ids.length), "cl-lost", "lost")] : []));
  };
  let drawn = false;
  return make("details", { class: "cl-read", ontoggle: (event) => {
    if (event.target.open && !drawn) drawn = true, draw();
  } }, make("summary", {}, words.join(", ")), box);
}

function createPage(about, history) {
  const texts = [];
  const specialIds = new Set(about.special_ids);
  const model = createModel(texts);
  const log = createLog(model, "Chat");
  const status = make("span", { class: "cl-status", role: "status" });
  const box = createBox(() => send());
  const refusals = createRefusals(box);
  const show = createSwitch(model, "show", { text: "Text", tokens: "Tokens" });
  let nextId = 0;
  let running = null; // what stops the request under way
  let before = []; // ids of the last prompt and its reply: what a server may have kept

  const add = (role, text, why) => {
    const made = new ServerText(nextId++, role, text, why);
    texts.push(made);
    return made;
  };
  const drawAll = () => model.receive({ kind: "all", body: texts.map((text) => text.full()) });
  const tell = (text) => model.receive({ kind: "full", id: text.id, body: text.full() });
  const lastReply = () => [...log.messages.values()].filter((m) => m.element.dataset.role === "assistant").at(-1);

  const take = async (event, reply) => {
    if (event.kind === "place") status.textContent = `waiting, place ${event.place}`;
    else if (event.kind === "begin") {
      const known = before;
      before = event.prompt_token_ids;
      await settled(); // the log draws in its own time
      log.messages.get(reply.id)?.element.append(createGlass(event, known, specialIds));
    } else if (event.kind === "delta") model.receive(reply.put(event, specialIds));
    else if (event.kind === "error") reply.end("error", event.message);
    else if (event.kind === "end") reply.end(event.finish_reason);
  };
  const settled = () => new Promise((done) => { setTimeout(done); });

  /** Ask; false where the question was refused and the chat is as it was. */
  const ask = async (body, question) => {
    refusals.clear();
    const controller = running = new AbortController();
    const asked = body.regenerate ? [] : [add("user", question, "")];
    const removed = body.regenerate ? texts.pop() : null;
    const reply = add("assistant", "");
    drawAll();
    status.textContent = "waiting for the first token";
    const undo = (why) => {
      texts.splice(texts.indexOf(reply), 1);
      for (const text of asked) texts.splice(texts.indexOf(text), 1);
      if (removed) texts.push(removed);
      drawAll();
      refusals.add(why, question);
    };
    try {
      const response = await post("chat_stream", body, { headers: { Accept: "text/event-stream" }, signal: controller.signal });
      if (!response.ok || !(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
        undo(await refusalOf(response));
        return;
      }
      for await (const event of eventsOf(response)) await take(event, reply);
      reply.end("error", "the answer broke off");
    } catch (error) {
      if (controller.signal.aborted) reply.end("cancelled");
      else if (!reply.length) undo("the server cannot be reached");
      else reply.end("error", "the connection broke off");
    } finally {
      running = null;
      before = [...before, ...reply.tokenIds];
      if (texts.includes(reply)) tell(reply);
      await settled();
      draw();
    }
  };
  const send = () => {
    const question = box.value;
    if (!question.trim() || running) return;
    box.value = "";
    ask({ user_input: question, regenerate: false, return_token_ids: true }, question);
  };
  const stop = () => {
    if (!running) return;
    status.textContent = "stopping\u2026";
    running.abort();
  };
  const newChat = async () => {
    refusals.clear();
    const response = await post("clear_context", {});
    if (!response.ok) return refusals.add(await refusalOf(response), "");
    texts.length = 0;
    before = [];
    drawAll();
    await settled();
    draw();
  };

  const button = (name, label, act) => {
    const element = make("button", { type: "button", class: "cl-" + name }, label);
    element.addEventListener("click", () => {
      box.focus();
      if (element.getAttribute("aria-disabled") !== "true") act();
    });
    return element;
  };
  const sendButton = button("send", "Send", send);
  const stopButton = createStop(stop);
  stopButton.addEventListener("click", () => box.focus());
  const againButton = button("again", "Regenerate", () => ask({ user_input: "", regenerate: true, return_token_ids: true }, ""));
  const newButton = button("new", "New chat", newChat);
  const copy = createCopy(lastReply, (words) => { status.textContent = words; });
  const draw = () => {
    setOff(stopButton, !running);
    setOff(sendButton, Boolean(running));
    setOff(againButton, Boolean(running) || !lastReply());
    setOff(newButton, Boolean(running) || !texts.length);
    if (!running || lastReply()?.tokens) status.textContent = statusOf(lastReply(), "streaming");
  };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.isComposing) stop(); });
  for (const message of history) add(message.role, message.content, "");
  log.watch(draw);
  drawAll();
  draw();
  const title = make("header", { class: "cl-title" }, make("h1", {}, about.name));
  if (about.fault) title.append(make("p", { class: "cl-fault" }, "Dishonest on purpose: " + about.fault));
  return make("main", { class: "cl-root cl-page" }, title, log.element,
    make("div", { class: "cl-bar" }, make("label", { class: "cl-ask" }, "Message", box), sendButton, stopButton),
    refusals.element,
    make("div", { class: "cl-bar" }, newButton, againButton, copy, show.element, status));
}

async function begin() {
  const [about, history] = await Promise.all([fetch("page/about"), fetch("get_prompt")]);
  if (!about.ok || !history.ok) {
    document.body.append(make("p", { role: "alert" }, await refusalOf(about.ok ? history : about)));
    return;
  }
  document.body.append(createPage(await about.json(), (await history.json()).messages));
  document.querySelector(".cl-box").focus();
}

begin();
