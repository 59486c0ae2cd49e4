// The conversation: questions, answers with their objects, plan, time bar and feedback.

import * as api from "./api.js";
import { clock } from "./clip.js";
import { colour } from "./stage.js";

const STAGES = [["load", "#9aa7b8"], ["understand", "#c774e8"], ["encode", "#5b8def"], ["ground", "#00b39b"], ["answer", "#f5b700"]];
const made = (tag, className = "", text = "") => {
  const one = document.createElement(tag);
  if (className) one.className = className;
  if (text) one.textContent = text;
  return one;
};

// Drawn, since not every machine has a font with thumbs.
function thumb(down) {
  const SVG = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: 17, height: 17, "aria-hidden": "true" })) icon.setAttribute(key, value);
  const hand = document.createElementNS(SVG, "path");
  hand.setAttribute("d", "M7 10v10H3.5V10zM7 11l4-8c1.8 0 2.8 1.2 2.5 2.8L12.800 9.500h5.700c1.400 0 2.300 1.200 2 2.500l-1.600 6.500c-.3 1-1 1.500-2 1.500H7");
  hand.setAttribute("fill", "none");
  hand.setAttribute("stroke", "currentColor");
  hand.setAttribute("stroke-width", "1.8");
  hand.setAttribute("stroke-linejoin", "round");
  if (down) hand.setAttribute("transform", "rotate(180 12 12)");
  icon.append(hand);
  return icon;
}

export function asked(list, query, pictures, clip = false) {
  const one = made("div", "asked", query);
  if (clip) one.append(made("small", "", pictures === 1 ? "with a clip" : `with ${pictures} pictures and clips`));
  else if (pictures) one.append(made("small", "", pictures === 1 ? "with a picture" : `with ${pictures} pictures`));
  list.append(one);
  one.scrollIntoView({ block: "end" });
}

// An answer that grows: working -> found -> said -> masks.
export class Answer {
  // sought: called with a track of a clip that is to be shown.
  // single: called with (media, at) when an object's chip is pointed at, (null) when no longer. chosen: show this answer.
  constructor(list, { single, chosen, sought = () => {} }) {
    Object.assign(this, { list, single, chosen, sought, reply: null, results: new Map() });
    this.root = made("article", "answer working");
    this.text = made("p", "text", "Looking");
    this.chips = made("div", "chips");
    this.root.append(this.text, this.chips);
    this.root.addEventListener("click", (event) => event.target.closest("button, input, summary") || this.chosen(this));
    list.append(this.root);
    this.show();
  }

  found(event) {
    this.text.textContent = event.text;
    for (const result of event.results) this.results.set(result.media, result);
    this.listThings();
  }

  said(reply) {
    this.reply = reply;
    this.root.classList.remove("working");
    this.root.classList.add(reply.status);
    this.text.textContent = reply.text;
    this.results = new Map(reply.results.map((result) => [result.media, result]));
    this.listThings();
    this.root.append(...[this.doubts(), this.how(), this.under()].filter(Boolean));
    this.show();
  }

  masks(event) {
    if (event.result) this.results.set(event.result.media, event.result);
    const result = this.results.get(event.media);
    if (!event.frames || !result?.frames) return;
    const drawn = new Map(event.frames.map((frame) => [frame.frame, frame]));
    result.frames = result.frames.map((frame) => drawn.get(frame.frame) || frame);
  }

  failed(message) {
    this.root.classList.remove("working");
    this.root.classList.add("error");
    this.text.textContent = message;
    this.show();
  }

  show() { this.root.scrollIntoView({ block: "nearest" }); }

  listThings() {
    this.chips.replaceChildren();
    const several = this.results.size > 1;
    for (const [media, result] of this.results) {
      if (result.tracks) result.tracks.forEach((track) => this.chips.append(this.trackChip(track, media, several)));
      else result.instances.forEach((one, at) => this.chips.append(this.chip(one, at, media, several)));
    }
  }

  chip(one, at, media, several) {
    const chip = made("button", "chip");
    chip.type = "button";
    Object.assign(chip.dataset, { at, media, score: one.score });
    const dot = made("i");
    dot.style.background = colour(at);
    chip.append(dot, `${several ? `${media + 1}: ` : ""}${one.label}`, made("span", "", one.score.toFixed(2)));
    if (!one.sure) chip.append(made("span", "doubt", "not sure"));
    for (const come of ["pointerenter", "focus"]) chip.addEventListener(come, () => this.single(this, media, at));
    for (const go of ["pointerleave", "blur"]) chip.addEventListener(go, () => this.single(this, null, null));
    return chip;
  }

  // A thing of a clip: pressed, the clip goes to where it first appears.
  trackChip(track, media, several) {
    const chip = made("button", "chip");
    chip.type = "button";
    Object.assign(chip.dataset, { track: track.id, media, score: track.score });
    const dot = made("i");
    dot.style.background = colour(track.id - 1);
    chip.append(dot, `${several ? `${media + 1}: ` : ""}#${track.id} ${track.label}`);
    chip.append(made("span", "", `${clock(track.first)} to ${clock(track.last)}`));
    chip.addEventListener("click", () => this.sought(this, media, track));
    return chip;
  }

  // News of a frame while the clip is being looked at.
  frame(event) {
    const counts = Object.entries(event.counts).map(([phrase, count]) => `${phrase}: ${count}`).join(", ");
    this.text.textContent = `Looking, ${Math.round(100 * event.done / event.of)} %. So far ${counts}`;
  }

  lit(media, at) {
    for (const chip of this.chips.children) {
      chip.classList.toggle("on", Number(chip.dataset.at) === at && Number(chip.dataset.media) === media && at !== null);
    }
  }

  filter(threshold) {
    for (const chip of this.chips.children) chip.classList.toggle("faint", Number(chip.dataset.score) < threshold);
  }

  doubts() {
    const unsure = [...this.results].flatMap(([media, result]) => result.instances.map((one, at) => ({ one, at, media })).filter((x) => !x.one.sure));
    if (!unsure.length) return null;
    const box = made("div", "doubts", `Not sure about ${unsure.length === 1 ? "one of them" : `${unsure.length} of them`}. Right?`);
    const judge = (verdict, words) => {
      const button = made("button", "quiet", words);
      button.addEventListener("click", async () => {
        for (const { at, media } of unsure) await this.send({ verdict, instance: at, media, note: "asked about a doubtful object" });
        box.textContent = "Thank you, noted.";
      });
      return button;
    };
    box.append(judge("up", "Yes"), judge("wrong", "No"));
    box.addEventListener("pointerenter", () => this.single(this, unsure[0].media, unsure[0].at));
    box.addEventListener("pointerleave", () => this.single(this, null, null));
    return box;
  }

  // Plan in words, and where the milliseconds went.
  how() {
    const { explain } = this.reply;
    const box = made("details", "how");
    const total = explain.timings_ms.total ?? 0;
    const cached = explain.cache.results_cached > 0;
    box.append(made("summary", "", `How: ${total.toFixed(0)} ms${cached ? ", answered from memory" : ""}`));
    if (explain.plan) {
      const line = made("p", "", "Understood: ");
      line.append(made("span", "plan", explain.plan));
      box.append(line);
    }
    const bar = made("div", "bar");
    const legend = made("div", "legend");
    for (const [stage, tint] of STAGES) {
      const value = explain.timings_ms[stage];
      if (value === undefined) continue;
      const part = made("i");
      part.style.background = tint;
      part.style.flexGrow = String(Math.max(value, total / 200));
      part.title = `${stage}: ${value.toFixed(1)} ms`;
      bar.append(part);
      const word = made("span");
      const dot = made("i");
      dot.style.background = tint;
      word.append(dot, `${stage} ${value.toFixed(1)} ms`);
      legend.append(word);
    }
    box.append(bar, legend);
    const facts = cached ? [] : [`${explain.cache.pictures_encoded} encoded now, ${explain.cache.embeddings_reused} known before`];
    if (explain.model && !explain.model.startsWith("unnamed")) facts.push(explain.model.split(" ").map((word) => word.slice(0, 12)).join(" "));
    if (explain.cost !== null) facts.push(`cost ${explain.cost.toExponential(1)}`);
    box.append(made("p", "", facts.join(" · ")));
    return box;
  }

  under() {
    const row = made("div", "under");
    const thanks = made("span", "thanks");
    const button = (content, label, act) => {
      const one = made("button", "quiet");
      one.append(content);
      one.title = label;
      one.setAttribute("aria-label", label);
      one.addEventListener("click", act);
      return one;
    };
    const judge = async (body, pressed) => {
      try {
        await this.send(body);
        pressed?.setAttribute("aria-pressed", "true");
        thanks.textContent = "Thank you.";
      } catch (error) { thanks.textContent = error.message; }
    };
    const up = button(thumb(false), "Good answer", () => judge({ verdict: "up" }, up));
    const down = button(thumb(true), "Bad answer", () => judge({ verdict: "down" }, down));
    const wrong = button("This is wrong", "Say what is wrong", () => {
      if (this.root.querySelector(".wrong")) return;
      const form = made("form", "wrong");
      const note = made("input");
      Object.assign(note, { placeholder: "What is wrong?", maxLength: 2000, required: true });
      note.setAttribute("aria-label", "What is wrong?");
      form.append(note, made("button", "primary", "Send"));
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        judge({ verdict: "wrong", note: note.value });
        form.remove();
      });
      this.root.append(form);
      note.focus();
    });
    row.append(up, down, wrong, thanks);
    return row;
  }

  send(body) { return api.feedback({ reply: this.reply.id, ...body }); }
}
