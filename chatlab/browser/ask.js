// Where a person asks: the box, and what became of a question that was not taken.

/** A box for a message: Enter sends, Shift+Enter breaks the line. */
function createBox(send) {
  const box = make("textarea", { class: "cl-box", rows: 2, placeholder: "Enter sends, Shift+Enter breaks the line" });
  box.addEventListener("keydown", (event) => {
    // 229: the key belongs to an input method that is composing; Safari says so only this way.
    if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    // JupyterLab swallows line breaks inside a cell, so the box breaks its line itself.
    if (event.shiftKey) box.setRangeText("\n", box.selectionStart, box.selectionEnd, "end");
    else send();
  });
  return box;
}

/** What was refused in a view, and why. A question stands here while another one is being typed: none is lost. */
function createRefusals(box) {
  const element = make("div", { class: "cl-refusals", role: "alert" });
  const add = (why, question) => {
    const line = make("p", {}, (question ? "Not sent: " : "Not done: ") + why);
    if (!box.value) box.value = question;
    else if (question) {
      line.append(make("q", {}, question), make("button", { type: "button", class: "cl-back", onclick: () => {
        box.setRangeText(question + (box.value && "\n"), 0, 0, "end");
        box.focus();
        line.remove();
      } }, "Put back"));
    }
    element.append(line);
  };
  const clear = () => { for (const line of [...element.children]) if (!line.querySelector("button")) line.remove(); };
  return { element, add, clear };
}
