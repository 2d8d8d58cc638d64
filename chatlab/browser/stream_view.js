// One text as it streams: the log, Stop (Esc), Copy, what to show, status.

function render({ model, el }) {
  const log = createLog(model, model.get("label"));
  const status = make("span", { class: "cl-status", role: "status" });
  const stop = () => {
    if (!log.running()) return;
    model.send({ kind: "stop" });
    status.textContent = "stopping\u2026";
  };
  const stopButton = createStop(stop);
  stopButton.addEventListener("click", () => stopButton.focus()); // not every browser does it, and Esc is heard here
  const show = createSwitch(model, "show-" + Math.random());
  const copy = createCopy(log.last, (words) => { status.textContent = words; });
  const onKey = (event) => { if (event.key === "Escape" && log.running()) { event.stopPropagation(); stop(); } };
  const draw = () => {
    setOff(stopButton, !log.running());
    status.textContent = statusOf(log.last(), "streaming");
  };
  log.watch(draw);
  draw();
  el.classList.add("cl-root");
  el.addEventListener("keydown", onKey);
  el.append(log.element, make("div", { class: "cl-bar" }, stopButton, copy, show.element, status));
  return () => {
    log.close();
    show.close();
    el.removeEventListener("keydown", onKey);
  };
}

export default { render };
