// A reply as a server tells it, and what it read for it: events in, messages for the log out. No drawing here.

/** One text of the chat, as the log asks for it. Offsets count code points. */
class ServerText {
  constructor(id, role, text = "", why = null) {
    Object.assign(this, { id, role, text, why, runs: [], steps: [], tokens: 0, error: "", seconds: null });
    this.length = codePoints(text);
    this.tokenIds = [];
    this.kind = "content";
    this.began = performance.now();
  }

  full() {
    const { id, role, text, runs, steps, tokens, why, error, seconds } = this;
    return { id, role, text, runs, steps, tokens, why, error, seconds, start: 0, steps_start: 0, held: "", waiting: "" };
  }

  /** Take what a step said; the message that tells the log of it. */
  put(said, specialIds) {
    const start = this.length;
    const stepsStart = this.steps.length;
    const text = said.delimiter + said.text;
    this.add("delimiter", said.delimiter);
    this.add(said.channel, said.text);
    said.token_ids.forEach((tokenId, index) => {
      this.steps.push([tokenId, said.pieces[index] ?? "", said.logprobs?.[index] ?? null, specialIds.has(tokenId),
        index ? "" : text, index ? "" : text, "", ""]);
    });
    this.tokens += said.token_ids.length;
    this.tokenIds.push(...said.token_ids);
    return { kind: "delta", id: this.id, start, text, runs: this.runs.filter(([begin]) => begin >= start),
      tokens: this.tokens, held: "", waiting: "", steps_start: stepsStart, steps: this.steps.slice(stepsStart) };
  }

  add(kind, text) {
    if (!text) return;
    if (kind !== this.kind) {
      if (!this.runs.length && this.length) this.runs.push([0, this.kind]);
      this.runs.push([this.length, kind]);
      this.kind = kind;
    }
    this.text += text;
    this.length += codePoints(text);
  }

  end(why, error = "") {
    if (this.why !== null) return;
    Object.assign(this, { why, error, seconds: (performance.now() - this.began) / 1000 });
  }
}

/** The events of a stream of server-sent events: the JSON of each one's data, with its name as `kind`. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = block.split(/\r?\n/).map((line) => /^(\w+): ?(.*)$/s.exec(line) ?? []);
      const of = (name) => fields.filter(([, found]) => found === name).map(([, , value]) => value).join("\n");
      if (of("data")) yield { kind: of("event"), ...JSON.parse(of("data")) };
    }
  }
}

/** What a refusal says, in words. */
async function refusalOf(response) {
  let told = {};
  try {
    told = await response.json();
  } catch { /* a proxy's page, or nothing */ }
  const words = [told.detail, told.error?.message, told.error].find((found) => typeof found === "string");
  const retry = response.headers.get("retry-after");
  return (words || "the server answered " + response.status) + (retry ? ": ask again in " + retry + " s" : "");
}

/** Ids that both begin with. */
function keptLen(a, b) {
  let count = 0;
  while (count < a.length && count < b.length && a[count] === b[count]) count++;
  return count;
}
