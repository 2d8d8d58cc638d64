// The chat panel: the log, the input with Send and Stop (Esc) beside it, what to do with the dialogue, and settings.

const CONTROLS = {
  temperature: { label: "Temperature", min: 0, step: 0.1 },
  top_p: { label: "Top p", min: 0, max: 1, step: 0.05 },
  top_k: { label: "Top k", min: 0, step: 1 },
  max_new_tokens: { label: "New tokens", min: 1, step: 1 },
  seed: { label: "Seed", min: 0, step: 1 },
};

function createSettings(model) {
  const fields = new Map();
  const save = () => {
    const settings = { ...model.get("settings") };
    for (const [name, field] of fields) {
      if (name === "system") settings.system = field.value;
      else settings[name] = field.value === "" ? null : Number(field.value); // empty is the default, which is shown
      if (field.validity.badInput) field.value = ""; // no number: the page says "" for it, so nothing else may stand there
    }
    model.set("settings", settings);
    model.save_changes();
  };
  const draw = () => {
    for (const [name, field] of fields) {
      if (field !== document.activeElement) field.value = model.get("settings")[name] ?? "";
    }
  };
  const system = make("textarea", { rows: 2, class: "cl-system", onchange: save });
  fields.set("system", system);
  const labels = Object.entries(CONTROLS).map(([name, { label, ...limits }]) => {
    const placeholder = model.get("defaults")[name] ?? "random";
    const input = make("input", { type: "number", class: "cl-" + name, onchange: save, placeholder, ...limits });
    fields.set(name, input);
    return make("label", {}, label, input);
  });
  model.on("change:settings", draw);
  draw();
  return {
    element: make("details", { class: "cl-settings" }, make("summary", {}, "Settings"),
      make("label", { class: "cl-wide" }, "System prompt", system), ...labels),
    close: () => model.off("change:settings", draw),
  };
}

function render({ model, el }) {
  const view = String(Math.random()); // the kernel speaks to all views at once
  const log = createLog(model, model.get("label"));
  const status = make("span", { class: "cl-status", role: "status" });
  const show = createSwitch(model, "show-" + Math.random());
  const settings = createSettings(model);
  const box = createBox(() => send());
  const button = (name, label, act) => {
    const element = make("button", { type: "button", class: "cl-" + name }, label);
    element.addEventListener("click", () => {
      box.focus(); // where the next thing is typed, and Esc is heard
      if (element.getAttribute("aria-disabled") !== "true") act();
    });
    return element;
  };

  const refusals = createRefusals(box);
  const tell = (message) => {
    refusals.clear();
    model.send({ ...message, view });
  };
  const send = () => {
    const text = box.value;
    if (!text.trim() || log.running()) return;
    tell({ kind: "send", text });
    box.value = "";
    status.textContent = "waiting for the first token";
  };
  const stop = () => {
    if (!log.running()) return;
    model.send({ kind: "stop" });
    status.textContent = "stopping\u2026";
  };
  const sendButton = button("send", "Send", send);
  const stopButton = createStop(stop);
  stopButton.addEventListener("click", () => box.focus());
  const againButton = button("again", "Regenerate", () => tell({ kind: "regenerate" }));
  const clearButton = button("clear", "Clear", () => tell({ kind: "clear" }));
  const lastReply = () => [...log.messages.values()].filter((m) => m.element.dataset.role === "assistant").at(-1);
  const copy = createCopy(lastReply, (words) => { status.textContent = words; });

  const draw = () => {
    const running = log.running();
    setOff(stopButton, !running);
    setOff(sendButton, running);
    setOff(againButton, running || !lastReply());
    setOff(clearButton, log.messages.size === 0);
    status.textContent = statusOf(lastReply(), "streaming");
  };
  const onKey = (event) => {
    event.stopPropagation(); // letters typed here are no commands to the notebook
    if (event.key === "Escape" && !event.isComposing) stop();
  };
  const onRefused = (content) => {
    if (content.kind !== "refused" || content.view !== view) return;
    refusals.add(content.why, content.text);
    draw();
  };

  el.addEventListener("keydown", onKey);
  model.on("msg:custom", onRefused);
  log.watch(draw);
  draw();
  el.classList.add("cl-root");
  el.dataset.lmSuppressShortcuts = "true";
  el.append(
    log.element,
    make("div", { class: "cl-bar" }, make("label", { class: "cl-ask" }, "Message", box), sendButton, stopButton),
    refusals.element,
    make("div", { class: "cl-bar" }, copy, againButton, clearButton, show.element, status),
    settings.element,
  );
  return () => {
    log.close();
    show.close();
    settings.close();
    model.off("msg:custom", onRefused);
    el.removeEventListener("keydown", onKey);
  };
}

export default { render };
