// The front end of every explorer. The kernel sends a view (an SVG, what happens when, what is so
// from when on); everything that moves with the playhead moves here, without asking the kernel.

const MOST_ROWS = 400; // of the event log; the playhead steps through all of them
const PLAY_MS = 12_000; // a whole run, unless it has few events
const LEAST_MS = 350; // for each event, so that none flies by
const READ_MS = 150; // what stands beside the picture is not changed faster
const PATIENCE_MS = 2_000; // with a kernel that has been asked something
const LINES = 18; // of a program; a longer one scrolls by itself
const SHEET = "iosim-styles";

// ---- small helpers -------------------------------------------------------------------------

/** An element with attributes and children; `on…` attributes are listeners. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** The last place in `sorted` whose `key` is not above `wanted`, or -1. */
function lastAt(sorted, wanted, key = (item) => item) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(sorted[middle]) <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Say `words` in `element`, which costs the page a layout only where they are other words. */
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/** Give `element` the attribute `name`, where it has another one. */
function tag(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const first = (row) => row[0];
/** An instant of what ends at `end`: in ms to the µs, or in µs to the ns where all is shorter than that. */
function instant(ns, end) {
  const [unit, name] = end < 1e5 ? [1e3, "µs"] : [1e6, "ms"];
  return `${(ns / unit).toLocaleString("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 })} ${name}`;
}
const counted = (value, unit) => `${spoken(value)} ${value === 1 && unit.length > 2 ? unit.replace(/s$/, "") : unit}`.trim();
const spoken = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 3 }) : value);
/** A name for ids that no other in the page has. Each widget loads this file for itself, and `url(#…)`
 * finds the first element of an id in the page, also in a notebook that is hidden: they count together. */
const ownName = () => `iosim-title-${(globalThis.iosimNames = (globalThis.iosimNames ?? 0) + 1)}`;
/** The SVG `text`, in which every text is escaped, with ids that begin with `name`. */
const named = (text, name) => text.replaceAll(/\bio[0-9a-f]{8}-/g, `${name}-`);

/** What to do where no kernel answers, by what is known of it. */
const REST = {
  silent: "No kernel answers: wait if it is busy, otherwise run this cell.",
  gone: "The kernel was restarted or stopped: run this cell again.",
};
const STILL = " Until then the picture and the playhead work as they are.";

/** In JupyterLab arrows go to other cells and letters change them, unless the element with the focus
 * says that keys are its own. While Ctrl or Cmd is held they are the notebook's, as for saving. */
function ownKeys({ target, ctrlKey, metaKey }) {
  target.toggleAttribute("data-lm-suppress-shortcuts", !(ctrlKey || metaKey));
}

// ---- controls: each has `element`, `value`, and calls `changed` ----------------------------------

/** A range over the places of `stops`; what lies between two of them is shown as it is. */
function slider(spec, changed) {
  const { name, label, stops, unit } = spec;
  const output = make("output", { "aria-live": "off" }); // the range itself says its value
  const input = make("input", {
    type: "range", name, min: 0, max: stops.length - 1, step: 1,
    oninput: () => tell(stops[input.valueAsNumber], true),
  });
  const control = { element: make("label", {}, make("span", {}, label), input, output), value: stops[0] };
  function tell(value, byHand) {
    control.value = value;
    const words = unit === "×" ? `× ${spoken(value)}` : counted(value, unit);
    say(output, words);
    tag(input, "aria-valuetext", words);
    if (byHand) changed(name);
    else input.value = String(Math.max(0, lastAt(stops, value)));
  }
  control.set = (value) => tell(value, false);
  return control;
}

function choice({ name, label, options }, changed) {
  const select = make("select", {
    name,
    onchange: () => {
      control.value = select.value;
      changed(name);
    },
  });
  for (const [value, words] of options) select.append(make("option", { value }, words));
  const element = make("label", { class: "iosim-choice" }, make("span", {}, label), select);
  const control = { element, value: options[0][0] };
  control.set = (value) => {
    control.value = value;
    select.value = value;
  };
  return control;
}

function switcher({ name, label }, changed) {
  const box = make("input", {
    type: "checkbox", name,
    onchange: () => {
      control.value = box.checked;
      changed(name);
    },
  });
  const control = { element: make("label", { class: "iosim-switch" }, box, make("span", {}, label)), value: false };
  control.set = (value) => {
    control.value = value;
    box.checked = value;
  };
  return control;
}

const KINDS = { slider, choice, switch: switcher };

// ---- the picture and what moves over it ----------------------------------------------------------

/** An element of an SVG, with attributes. */
function drawn(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Make `old` what `fresh` is, and touch only what differs: what stays is neither laid out nor drawn again. */
function become(old, fresh) {
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) tag(old, name, value);
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  for (const [place_, child] of after.entries()) {
    if (place_ < before.length) become(before[place_], child);
    else old.append(child);
  }
  for (const child of before.slice(after.length)) child.remove();
}

/** The panels of an SVG: each `<g data-t0>` says which px are which ns there. */
function panelsOf(svg) {
  return [...svg.querySelectorAll("g[data-t0]")].map((group) => {
    const [x0, x1, t0, t1, top, bottom] = ["x0", "x1", "t0", "t1", "top", "bottom"].map((name) => +group.dataset[name]);
    const line = drawn("line", { class: "iosim-playhead", y1: top, y2: bottom });
    const panel = { line, t0, t1, x0, x1, top, bottom };
    panel.x = (at) => x0 + ((x1 - x0) * (at - t0)) / Math.max(1, t1 - t0);
    panel.lanes = [...group.querySelectorAll("g[data-lane]")].map(laneOf);
    group.append(line);
    return panel;
  });
}

/** A lane whose bars are one path for each state: `mark` frames what is so there at an instant. */
function laneOf(group) {
  const { lane, top, bottom } = group.dataset;
  const mark = drawn("rect", { class: "iosim-now", y: top, height: bottom - top, fill: "none" });
  mark.style.display = "none";
  group.append(mark);
  return { name: lane, top: +top, bottom: +bottom, mark };
}

function place(panel, at) {
  const inside = panel.t0 <= at && at <= panel.t1;
  panel.line.style.display = inside ? "" : "none";
  if (!inside) return;
  const x = String(panel.x(at));
  panel.line.setAttribute("x1", x);
  panel.line.setAttribute("x2", x);
}

/** Frame what `track` says of the lane at the instant `at`; nothing before it begins and when it is over. */
function markOn({ mark }, panel, track, at) {
  const now = track ? lastAt(track.rows, at, first) : -1;
  const state = track?.rows[now]?.[1];
  const from = state && state !== "over" ? Math.max(panel.t0, track.rows[now][0]) : Infinity;
  const to = Math.min(panel.t1, track?.rows[now + 1]?.[0] ?? panel.t1);
  mark.style.display = from < to ? "" : "none";
  if (from >= to) return;
  mark.setAttribute("x", panel.x(from));
  mark.setAttribute("width", panel.x(to) - panel.x(from));
}

/** Elements that stand for a stretch of time, sorted by its start, so that few are looked at. */
function spansOf(root) {
  return [...root.querySelectorAll("[data-start]")]
    .map((element) => ({ element, start: +element.dataset.start, end: +element.dataset.end }))
    .sort((a, b) => a.start - b.start);
}

/** What is under the pointer: the instant, and the lane if it is on one; null outside of every panel. */
function under(event, svg, panels) {
  const box = svg.getBoundingClientRect();
  const { width, height } = svg.viewBox.baseVal;
  const x = ((event.clientX - box.left) * width) / box.width;
  const y = ((event.clientY - box.top) * height) / box.height;
  const panel = panels.find((p) => p.top - 4 <= y && y <= p.bottom + 24);
  if (!panel) return null;
  const part = Math.min(1, Math.max(0, (x - panel.x0) / (panel.x1 - panel.x0)));
  const lane = panel.lanes.find(({ top, bottom }) => top <= y && y <= bottom);
  return { at: Math.round(panel.t0 + part * (panel.t1 - panel.t0)), lane: panel.x0 <= x && x <= panel.x1 ? lane : undefined };
}

// ---- parts of the page ---------------------------------------------------------------------------

/** Numbered lines, `[place, number, text]`, of which the playhead finds each by its place. */
function listing(label, lines) {
  const long = lines.length > LINES;
  const list = make("ol", { class: long ? "iosim-program iosim-long" : "iosim-program", "aria-label": label, tabindex: 0 });
  let before = null;
  for (const [place, number, text] of lines) {
    const gap = before !== null && number !== before + 1;
    list.append(make("li", { "data-line": place, value: number, class: gap && "iosim-gap" }, make("code", {}, text || " ")));
    before = number;
  }
  return list;
}

/** The two texts of a run: the program, and the kernel's side of its calls. */
function textsPart({ program, kernel }) {
  const ours = listing("The program", program.map(([number, text]) => [number, number, text]));
  if (!kernel.length) return ours;
  const column = (title, list) => make("div", {}, make("div", { class: "iosim-title" }, title), list);
  return make("div", { class: "iosim-texts" }, column("The program", ours),
    column("The kernel's side of its calls, simulated", listing("The kernel's side of its calls", kernel)));
}

function tablePart({ caption, heads, rows }) {
  const table = make("table", { class: "iosim-table" }, make("caption", {}, caption));
  table.append(make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head))));
  for (const [head, ...cells] of rows) {
    table.append(make("tr", {}, make("th", { scope: "row" }, head), ...cells.map((cell) => make("td", {}, cell))));
  }
  return table;
}

function hintPart(hint) {
  return make("p", { class: "iosim-hint" }, hint);
}

function lanePart({ name, kind }) {
  return make("li", { "data-kind": kind }, make("b", {}, name), " ", make("span"));
}

function numbersPart(numbers) {
  const list = make("dl", { class: "iosim-numbers" });
  for (const [name, value, meaning] of numbers) {
    list.append(make("div", { title: meaning, class: value.length > 30 && "iosim-wide" }, make("dt", {}, name), make("dd", {}, value)));
  }
  return list;
}

function logPart(moments) {
  const table = make("table", { class: "iosim-log" }, make("caption", {}, "What happens, in time"));
  table.append(make("tr", {}, make("th", { scope: "col" }, "at"), make("th", { scope: "col" }, "event")));
  const end = moments[moments.length - 1][0];
  for (const [place_, [at, words]] of moments.slice(0, MOST_ROWS).entries()) {
    table.append(make("tr", { "data-frame": place_ }, make("td", {}, instant(at, end)), make("td", {}, words)));
  }
  const left = moments.length - MOST_ROWS;
  if (left > 0) table.append(make("tr", {}, make("td", {}), make("td", {}, `… and ${spoken(left)} more`)));
  return table;
}

/** A part that is built when it is first opened, and kept open from one view to the next. */
function drawer(title, opened, build) {
  const inside = make("div");
  let built = false;
  const details = make("details", {
    ontoggle: () => {
      opened.set(title, details.open);
      if (details.open && !built) {
        built = true;
        inside.append(build());
        details.dispatchEvent(new CustomEvent("iosim-built", { bubbles: true }));
      }
    },
  }, make("summary", {}, title), inside);
  if (opened.get(title)) details.open = true;
  return details;
}

function svgPart(text) {
  const holder = make("div", { class: "iosim-figure" });
  holder.innerHTML = named(text, ownName());
  return holder;
}

// ---- the explorer --------------------------------------------------------------------------------

class Page {
  constructor(model, el) {
    this.model = model;
    this.kept = new Map();
    this.spec = model.get("spec");
    this.asked = this.answered = 0; // numbers of questions
    this.at = this.settled = 0;
    this.opened = new Map();
    this.current = new Set();
    this.panels = [];
    this.el = el;
    this.build();
    this.show();
    this.settle();
  }

  close() {
    clearTimeout(this.patience);
    this.stop();
    this.room.disconnect();
    this.unfilled = null;
  }

  // -- what stays --

  build() {
    const { spec } = this;
    this.controls = new Map();
    const control = (one, changed) => {
      const made = KINDS[one.kind](one, changed);
      this.controls.set(one.name, made);
      return made.element;
    };
    this.form = make("fieldset", { disabled: true }, make("legend", { class: "iosim-unseen" }, "Controls"));
    this.form.append(...spec.controls.map((one) => control(one, () => this.ask())));
    if (spec.questions.length) this.form.append(control({ kind: "switch", name: "predict", label: "predict first" }, () => this.ask({ committed: false })));
    this.guess = make("form", { class: "iosim-guess", hidden: true, onsubmit: (event) => this.commit(event) },
      make("p", {}, "Predict first: the run is shown once you have committed to a guess."),
      ...spec.questions.map((one) => control(one, () => {})),
      (this.commits = make("button", { type: "submit", disabled: true }, "Commit to this guess")));
    this.rest = make("p", { class: "iosim-rest", role: "status", tabindex: -1 });
    this.error = make("p", { class: "iosim-error", role: "alert", hidden: true });
    this.picture = make("div", {
      class: "iosim-picture", onpointerdown: (event) => this.drag(event), onpointermove: (event) => this.hint(event),
    });
    this.parts = make("div", { class: "iosim-parts" });
    const heading = (this.heading = ownName());
    this.root = make("section", {
      class: "iosim-explorer", "data-explorer": spec.name, "aria-label": `Explorer: ${spec.title}`, "aria-describedby": heading,
    },
    make("p", { class: "iosim-heading", id: heading }, spec.title),
    make("form", { class: "iosim-controls", onsubmit: (event) => event.preventDefault() }, this.form),
    this.actions(), this.rest, this.error, this.guess, this.picture, this.player(), this.nowPart(), this.parts, this.stateLine());
    this.root.addEventListener("iosim-built", () => {
      this.index();
      this.move(this.at);
    });
    // Asked when the page is laid out anyhow, this costs nothing: a picture is as wide as the last one.
    this.room = new ResizeObserver(() => { this.overhang = this.picture.scrollWidth > this.picture.clientWidth; });
    this.room.observe(this.picture);
    for (const type of ["focusin", "keydown", "keyup"]) this.root.addEventListener(type, ownKeys);
    this.el.append(this.root);
  }

  actions() {
    this.buttons = new Map();
    this.progress = make("progress", { hidden: true, "aria-label": "Progress" });
    this.progressWords = make("span", { role: "status" });
    const row = make("div", { class: "iosim-actions" });
    for (const [name, words] of Object.entries(this.spec.actions)) {
      const button = make("button", { type: "button", disabled: true, onclick: () => this.hail({ action: name }) }, words);
      this.buttons.set(name, button);
      row.append(button);
    }
    if (this.buttons.size) row.append(this.progress, this.progressWords);
    return row;
  }

  player() {
    const button = (words, act) => make("button", { type: "button", onclick: act }, words);
    this.play = button("Play", () => this.toggle());
    this.scrub = make("input", {
      type: "range", name: "playhead", "aria-label": "Playhead", min: 0, max: 1000, step: 1,
      oninput: () => this.scrubbed(), onkeydown: (event) => this.key(event),
    });
    this.clock = make("output", { "aria-live": "off" });
    this.group = make("div", { class: "iosim-player", role: "group", "aria-label": "Playhead" },
      button("Previous event", () => this.step(-1)), this.play, button("Next event", () => this.step(1)), this.scrub, this.clock);
    return this.group;
  }

  nowPart() {
    this.event = make("p", { class: "iosim-event", role: "status" });
    this.lanes = make("ul", { class: "iosim-lanes" });
    return make("div", { class: "iosim-now-panel", role: "group", "aria-label": "At this instant" }, this.event, this.lanes);
  }

  stateLine() {
    this.state = make("input", {
      type: "text", name: "state", readonly: true, "aria-label": "State of this explorer", spellcheck: "false", autocomplete: "off",
      placeholder: "as it begins",
      onfocus: () => { this.edited = true; }, onblur: () => this.leave(),
      onselect: () => { this.edited ||= this.state.matches(":focus"); }, oninput: () => { this.edited = true; },
      onchange: () => this.state.value !== this.said && this.paste(), // otherwise Enter has asked already
      // JupyterLab takes Enter from the fields in a cell, and with it their change
      onkeydown: ({ key }) => key === "Enter" && this.paste(),
    });
    const copy = make("button", { type: "button", onclick: () => this.copy(copy) }, "Copy");
    return make("div", { class: "iosim-state" }, make("span", {}, "state"), this.state, copy);
  }

  // -- from the reader to the kernel --

  /** Ask the kernel for what the controls say; a later question overtakes one under way. */
  ask(more = {}) {
    const values = { ...this.shown.values };
    for (const [name, { value }] of this.controls) values[name] = value;
    this.send({ values: { ...values, at_ms: this.at / 1e6, ...more } });
  }

  send(question) {
    this.waiting = question; // in place of one that still waits
    this.flush();
  }

  /** Two questions are under way at most: one in the kernel, and one for when it is done with that. */
  flush() {
    if (!this.waiting || this.asked - this.answered >= 2) return;
    this.asked = Math.max(this.asked, this.answered) + 1; // it may be shown twice
    const question = { n: this.asked, ...this.waiting };
    this.waiting = null;
    this.post({ ask: question }, () => this.unanswered(question.n));
  }

  /** The kernel is done with question `n`: was it interrupted, or does it know nothing of this explorer? */
  unanswered(n) {
    if (this.answered >= n) return;
    this.answered = n;
    this.flush();
    if (n === this.asked) this.reset();
    this.complain("The kernel gave no answer: choose again.");
    this.hail();
  }

  /** Ask whether the kernel knows this explorer, and for what is `more`: one that was restarted does not.
   * It says what is shown now, if that is not what stands here. */
  hail(more = {}) {
    this.heard = false;
    this.post({ hello: true, seq: this.seq, ...more }, () => this.heard || this.rests("gone"));
  }

  /** To the kernel; `done` when it has dealt with it, whether it answered or not. */
  post(content, done) {
    const status = (message) => message.content.execution_state === "idle" && done();
    this.expect();
    try {
      this.model.send(content, { iopub: { status } });
    } catch { // the connection to its kernel is closed
      this.rests("gone");
    }
  }

  /** Wait for the kernel, but not for ever without a word. */
  expect() {
    clearTimeout(this.patience);
    if (this.heard && this.asked <= this.answered) return;
    this.patience = setTimeout(() => this.rests("silent"), PATIENCE_MS);
  }

  commit(event) {
    event.preventDefault();
    this.ask({ committed: true });
  }

  paste() {
    if (this.state.value !== this.pasted) this.send({ text: this.state.value });
    this.pasted = this.state.value;
    this.edited = false;
  }

  /** Whoever has typed nothing into the state reads what it is now. */
  leave() {
    this.edited = false;
    if (this.state.value !== this.pasted) this.state.value = this.said;
  }

  async copy(button) {
    this.state.select();
    this.edited = false;
    try {
      await navigator.clipboard.writeText(this.state.value);
    } catch {
      document.execCommand("copy"); // where a page may not use the clipboard by itself
    }
    button.textContent = "Copied";
    button.addEventListener("blur", () => { button.textContent = "Copy"; }, { once: true });
  }

  // -- from the kernel to the reader --

  /** The kernel has said something. */
  hears() {
    this.heard = true;
    this.expect();
    say(this.rest, "");
    if (this.form.disabled) this.enable(true);
  }

  /** Nobody answers, for the reason `why` of REST: what needs no kernel still works. */
  rests(why) {
    clearTimeout(this.patience);
    say(this.rest, REST[why] + STILL);
    if (why !== "gone") return; // a busy kernel will answer
    const focus = this.form.querySelector(":focus");
    this.enable(false);
    if (focus) this.rest.focus(); // the keyboard goes on from here
  }

  enable(able) {
    this.form.disabled = this.commits.disabled = !able;
    this.state.readOnly = !able;
    for (const button of this.buttons.values()) button.disabled = !able;
    this.working(able ? this.model.get("busy") : {});
  }

  working({ words = "", done = 0, total = 0, can = null }) {
    this.progress.hidden = !total;
    this.progress.max = total || 1;
    this.progress.value = done;
    this.progressWords.textContent = words;
    if (can) for (const [name, button] of this.buttons) button.disabled = !can.includes(name);
  }

  complain(words) {
    this.error.hidden = !words;
    this.error.textContent = words;
  }

  /** The controls say what is shown. */
  reset() {
    for (const [name, control] of this.controls) control.set(this.shown.values[name]);
  }

  show() {
    const shown = (this.shown = JSON.parse(this.model.get("shown")));
    this.complain(shown.error);
    this.answered = Math.max(this.answered, shown.n);
    this.flush();
    const newest = shown.n >= this.asked || shown.error; // otherwise a newer answer is on its way
    if (newest) this.reset();
    for (const [name, { element }] of this.controls) {
      if (this.form.contains(element)) element.hidden = !(shown.visible.includes(name) || name === "predict");
    }
    if (shown.seq === this.seq) return;
    const stays = shown.n < 0 && this.seq !== undefined; // more is known of what was shown before
    this.seq = shown.seq;
    this.pasted = null;
    this.guess.hidden = !shown.hidden;
    for (const part of [this.picture, this.group, this.event.parentElement]) part.hidden = shown.hidden;
    this.view = shown.view;
    this.paint(this.view.svg);
    this.picture.dataset.seq = shown.seq;
    this.stop();
    this.draw(stays ? this.at : shown.values.at_ms * 1e6);
    this.later(shown);
    if (shown.hidden) this.settle(); // what is to be guessed is not to be read meanwhile
  }

  /** Show the SVG `text`; names in it are this page's own, so that they are those of the last one. */
  paint(text) {
    const fresh = make("template");
    fresh.innerHTML = named(text, this.heading);
    const [svg] = fresh.content.children;
    const old = this.picture.firstElementChild;
    for (const { line, lanes } of this.panels) for (const ours of [line, ...lanes.map(({ mark }) => mark)]) ours.remove();
    if (svg && old) become(old, svg);
    else this.picture.replaceChildren(...fresh.content.childNodes);
  }

  /** The playhead over a new picture. */
  draw(at) {
    const { moments } = this.view;
    this.svg = this.picture.querySelector("svg");
    this.panels = this.svg ? panelsOf(this.svg) : [];
    this.start = moments.length ? moments[0][0] : 0;
    this.end = moments.length ? moments[moments.length - 1][0] : 0;
    this.at = Math.min(this.end, Math.max(this.start, at));
    this.tracks = new Map(this.view.tracks.map((track) => [track.name, track]));
    this.mark();
  }

  /** In the picture: the playhead, and what is so there in each lane. */
  mark() {
    for (const panel of this.panels) {
      place(panel, this.at);
      for (const lane of panel.lanes) markOn(lane, panel, this.tracks.get(lane.name), this.at);
    }
  }

  /** What stands beside the picture can wait until that is on the screen; and while the next one is
   * on its way, until somebody can have read what stands there. */
  later(shown) {
    this.unfilled = shown;
    const fill = () => {
      if (this.unfilled !== shown) return; // the next one has come by now
      const early = this.asked > this.answered ? this.settled + READ_MS - performance.now() : 0;
      if (early > 0) setTimeout(fill, early);
      else this.settle();
    };
    requestAnimationFrame(() => setTimeout(fill));
  }

  /** Make up for what was put off. */
  settle() {
    if (!this.unfilled) return;
    const shown = this.unfilled;
    this.unfilled = null;
    this.settled = performance.now();
    this.fill(shown);
    this.index();
    this.move(this.at);
    this.parts.dataset.seq = shown.seq;
  }

  fill(shown) {
    const { view, opened } = this;
    const guesses = { caption: "Your guess and the run", heads: ["question", "your guess", "the run", ""], rows: shown.verdicts };
    const some = (list, build) => (list.length ? [[build, list]] : []);
    this.keep(this.parts, [
      ...(shown.verdicts.length ? [[tablePart, guesses]] : []),
      ...view.hints.map((hint) => [hintPart, hint]),
      ...some(view.numbers, numbersPart),
      ...view.tables.map((table) => [tablePart, table]),
      ...(view.program.length ? [[textsPart, { program: view.program, kernel: view.kernel }]] : []),
      ...view.figures.map((figure) => [([title, svg]) => drawer(title, opened, () => svgPart(svg)), figure]),
      ...some(view.moments, (moments) => drawer("Event log", opened, () => logPart(moments))),
    ]);
    this.keep(this.lanes, view.tracks.map(({ name, kind }) => [lanePart, { name, kind }]));
  }

  /** Fill `place` with a part for each `[build, value]`; a part whose value is as before stays. */
  keep(place, wanted) {
    const before = this.kept.get(place) ?? new Map();
    const now = new Map(wanted.map(([build, value], place_) => {
      const key = `${place_} ${build.name} ${JSON.stringify(value)}`;
      return [key, before.get(key) ?? build(value)];
    }));
    this.kept.set(place, now);
    const parts = [...now.values()];
    if (parts.length !== place.children.length || parts.some((part, n) => part !== place.children[n])) place.replaceChildren(...parts);
  }

  /** Find again what the playhead highlights. */
  index() {
    this.spans = spansOf(this.root);
    this.lines = new Map([...this.parts.querySelectorAll("li[data-line]")].map((item) => [item.dataset.line, item]));
    this.rows = new Map([...this.parts.querySelectorAll("tr[data-frame]")].map((row) => [+row.dataset.frame, row]));
    for (const element of this.current) element.classList.remove("iosim-now");
    this.current = new Set();
  }

  // -- the playhead --

  /** Everything that is so at the instant `at` (ns), highlighted together. */
  move(at) {
    this.settle();
    this.at = Math.min(this.end, Math.max(this.start, at));
    this.mark();
    this.follow();
    const now = new Set(this.spans.slice(0, lastAt(this.spans, this.at, (span) => span.start) + 1)
      .filter((span) => this.at < span.end || (span.start === span.end && span.start === this.at))
      .map((span) => span.element));
    const frame = lastAt(this.view.moments, this.at, first);
    if (this.rows.has(frame)) now.add(this.rows.get(frame));
    for (const [place_, track] of this.view.tracks.entries()) this.tell(track, this.lanes.children[place_], now);
    for (const element of this.current) if (!now.has(element)) element.classList.remove("iosim-now");
    for (const element of now) if (!this.current.has(element)) element.classList.add("iosim-now");
    this.current = now;
    this.saySo(frame);
    if (this.lines.size > LINES) this.revealing ||= requestAnimationFrame(() => this.reveal());
  }

  /** Where the picture is wider than its room, keep the playhead in sight. */
  follow() {
    const { line } = this.panels[0] ?? {};
    if (!line || !this.overhang) return;
    const x = (+line.getAttribute("x1") * this.picture.scrollWidth) / this.svg.viewBox.baseVal.width;
    this.picture.scrollLeft = x - this.picture.clientWidth / 2;
  }

  /** Where the program is longer than its room, keep its present line in sight. */
  reveal() {
    this.revealing = 0;
    const marked = [...this.lines.values()].filter((item) => this.current.has(item));
    for (const line of new Map(marked.reverse().map((item) => [item.parentElement, item])).values()) { // the first of each text
      const { scrollTop, clientHeight } = line.parentElement;
      const { offsetTop, offsetHeight } = line;
      const inSight = offsetTop >= scrollTop && offsetTop + offsetHeight <= scrollTop + clientHeight;
      if (!inSight) line.parentElement.scrollTop = offsetTop - clientHeight / 2;
    }
  }

  /** One lane of the panel beside the picture, and the program's line that it is at. */
  tell(track, item, now) {
    const row = track.rows[lastAt(track.rows, this.at, first)];
    const words = row ? row[2] : "–";
    say(item.lastElementChild, words);
    tag(item, "data-state", row ? row[1] : "");
    const line = row && track.kind === "process" ? this.lines.get(String(row[3])) : undefined;
    if (line) now.add(line);
    line?.classList.toggle("iosim-since", row[1] === "user");
    const place = track.kernel?.[lastAt(track.kernel, this.at, first)];
    const inner = place && this.lines.get(place[1]);
    if (inner) now.add(inner);
  }

  saySo(frame) {
    const words = frame >= 0 ? this.view.moments[frame][1] : "";
    const here = frame >= 0 && this.view.moments[frame][0] === this.at ? words : `since then: ${words}`;
    this.event.textContent = here;
    this.clock.textContent = instant(this.at, this.end);
    this.scrub.value = String(Math.round((1000 * (this.at - this.start)) / Math.max(1, this.end - this.start)));
    this.scrub.setAttribute("aria-valuetext", `${this.clock.textContent}: ${here}`);
    this.said = [this.shown.text.replace(/ ?at_ms=\S+/, ""), this.at > 0 && `at_ms=${this.at / 1e6}`]
      .filter(Boolean).join(" ");
    if (!this.edited) this.state.value = this.said; // while a reader is in it, it is theirs
  }

  step(way) {
    this.stop();
    const { moments } = this.view;
    const here = lastAt(moments, this.at, first);
    const onIt = here >= 0 && moments[here][0] === this.at;
    const next = way > 0 ? here + 1 : onIt ? here - 1 : here;
    if (next >= 0 && next < moments.length) this.move(moments[next][0]);
  }

  key(event) {
    const acts = {
      ArrowRight: () => this.step(1), ArrowUp: () => this.step(1),
      ArrowLeft: () => this.step(-1), ArrowDown: () => this.step(-1),
      Home: () => this.move(this.start), End: () => this.move(this.end),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  }

  scrubbed() {
    this.stop();
    this.move(Math.round(this.start + (this.scrub.valueAsNumber / 1000) * (this.end - this.start)));
  }

  drag(event) {
    if (!this.svg || event.button) return;
    const follow = (moved) => {
      const there = under(moved, this.svg, this.panels);
      if (there) this.move(there.at);
    };
    this.stop();
    follow(event);
    this.picture.setPointerCapture(event.pointerId);
    const done = () => this.picture.removeEventListener("pointermove", follow);
    this.picture.addEventListener("pointermove", follow);
    this.picture.addEventListener("pointerup", done, { once: true });
    this.picture.addEventListener("pointercancel", done, { once: true });
  }

  /** What is so under the pointer, as a tooltip. */
  hint(event) {
    const { at, lane } = (this.svg && under(event, this.svg, this.panels)) || {};
    const track = lane && this.tracks.get(lane.name);
    const words = track?.rows[lastAt(track.rows, at, first)]?.[2];
    this.picture.title = words ? `${lane.name} ${words}` : "";
  }

  toggle() {
    if (this.playing) this.stop();
    else this.run();
  }

  /** Play: each stretch between two events takes its share of the time, and at least a moment. */
  run() {
    const times = this.view.moments.map(first);
    if (this.at >= this.end) this.move(this.start);
    const least = Math.min(LEAST_MS, PLAY_MS / Math.max(1, times.length));
    const pace = (place_) => least + (PLAY_MS / 3) * ((times[place_ + 1] - times[place_]) / Math.max(1, this.end - this.start));
    let place_ = Math.max(0, lastAt(times, this.at));
    let since = null;
    this.play.textContent = "Pause";
    this.event.setAttribute("aria-live", "off"); // nobody can listen that fast
    const frame = (clock) => {
      since ??= clock;
      while (place_ < times.length - 1 && clock - since >= pace(place_)) {
        since += pace(place_);
        place_ += 1;
      }
      if (place_ >= times.length - 1) {
        this.move(this.end);
        this.stop();
        return;
      }
      this.move(Math.round(times[place_] + ((clock - since) / pace(place_)) * (times[place_ + 1] - times[place_])));
      this.playing = requestAnimationFrame(frame);
    };
    this.playing = requestAnimationFrame(frame);
  }

  stop() {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.play.textContent = "Play";
    this.event.removeAttribute("aria-live");
  }
}

/** Hear the kernel past anywidget, which gives a module two seconds to be loaded. Where a busy page took
 * longer, all else works, but what the kernel says is dropped from then on (anywidget 0.11). */
function initialize({ model }) {
  addStyles(model.get("styles"));
  const whole = wholeOf(model);
  const inherited = whole && Object.getPrototypeOf(whole.constructor.prototype);
  whole?.comm?.on_msg?.((message) => inherited._handle_comm_msg.call(whole, message));
}

/** One sheet of styles for all explorers of a page, touched only if it is another one. */
function addStyles(styles) {
  let sheet = document.getElementById(SHEET);
  if (!sheet) {
    sheet = document.head.appendChild(make("style", { id: SHEET }));
  }
  if (sheet.textContent !== styles) sheet.textContent = styles;
}

/** The model of which anywidget hands out a part: whoever listens for a change is given all of it. */
function wholeOf(model) {
  let whole;
  const take = (changed) => { whole = changed; };
  model.on("change:seen", take);
  model.set("seen", true);
  model.off("change:seen", take);
  model.set("seen", undefined); // which is stored nowhere
  return whole;
}

function render({ model, el }) {
  const page = new Page(model, el);
  const hail = () => setTimeout(() => page.hail()); // the connection is closed after the news of it
  const listeners = [
    ["change:shown", () => page.show()],
    ["change:busy", () => page.working(model.get("busy"))],
    ["change", () => page.hears()],
    ["msg:custom", ({ ready }) => ready && page.hears()],
    ["comm_live_update", hail], // the kernel restarts
  ];
  for (const [name, listener] of listeners) model.on(name, listener);
  // JupyterLab's connection to the kernel; where there is none, a question that is not answered tells.
  const { disposed, connectionStatusChanged } = model.widget_manager?.kernel ?? {};
  const signals = [disposed, connectionStatusChanged].filter(Boolean);
  for (const signal of signals) signal.connect(hail);
  page.hail();
  return () => {
    page.close();
    for (const [name, listener] of listeners) model.off(name, listener);
    for (const signal of signals) signal.disconnect(hail);
  };
}

export default { initialize, render };
