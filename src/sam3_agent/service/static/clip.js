// A clip on the stage: its frames, a timeline with the span of every track, play and step.

import * as api from "./api.js";
import { colour } from "./stage.js";

const made = (tag, className = "", text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
export const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

// A medium of the page that is a clip. `frames`: { time, url }; `shown`: frame number -> instances.
export class Clip {
  constructor(name) {
    Object.assign(this, { name, clip: true, size: [300, 400], frames: [], shown: new Map(), tracks: [], at: 0, sent: false, url: "" });
  }

  // Fetch all frames, some at a time; `some` is called after each piece.
  async fetch(session, number, some) {
    for (;;) {
      const piece = await api.frames(session, number, this.frames.length);
      this.size = piece.size;
      for (const one of piece.shown) this.frames.push({ time: one.time, url: `data:image/jpeg;base64,${one.jpeg}` });
      if (!this.url && this.frames.length) this.go(0);
      some();
      if (!piece.shown.length || this.frames.length >= piece.frames) return;
    }
  }

  go(at) {
    this.at = Math.min(Math.max(at, 0), Math.max(this.frames.length - 1, 0));
    this.url = this.frames[this.at]?.url || "";
    this.instances = this.shown.get(this.at) || [];
  }

  // A frame as the server tells of it: what is in it, with the track's number as its colour.
  take(frame) {
    const instances = frame.tracks.map((one) => ({
      ...one, area: (one.box[2] - one.box[0]) * (one.box[3] - one.box[1]), sure: true, tint: one.id - 1, label: `#${one.id} ${one.label}`,
    }));
    this.shown.set(frame.frame, instances);
  }

  // An answer: its tracks, and the frames known so far; masks may follow.
  answer(result) {
    this.tracks = result.tracks || [];
    const before = this.shown;
    this.shown = new Map();
    for (const frame of result.frames || []) this.take(frame);
    if (!this.tracks.length && !(result.frames || []).length) before.clear();
  }
}

export class Timeline {
  // moved: called when another frame is to be shown.
  constructor(root, moved) {
    Object.assign(this, { root, moved, clip: null, timer: null });
    this.play = made("button", "quiet icon");
    this.play.setAttribute("aria-label", "Play");
    this.play.title = "Play or stop (space)";
    this.range = Object.assign(made("input"), { type: "range", min: 0, step: 1, value: 0 });
    this.range.setAttribute("aria-label", "Time");
    this.time = made("output", "time", "0:00.0");
    this.tracks = made("div", "tracks");
    const bar = made("div", "timebar");
    bar.append(this.play, this.range, this.time);
    this.news = made("p", "news");
    this.news.setAttribute("role", "status");
    root.append(bar, this.tracks, this.news);
    this.play.addEventListener("click", () => this.toggle());
    this.range.addEventListener("input", () => { this.stop(); this.go(Number(this.range.value)); });
    this.icon();
  }

  show(clip) {
    if (clip !== this.clip) this.stop();
    this.clip = clip;
    this.root.hidden = !clip;
    if (!clip) return;
    this.range.max = Math.max(clip.frames.length - 1, 0);
    this.draw();
    this.point();
  }

  draw() {
    const last = this.clip.frames.at(-1)?.time || 1;
    this.tracks.replaceChildren(...this.clip.tracks.slice(0, 40).map((track) => {
      const row = made("button", "track");
      row.title = `#${track.id} ${track.label}: ${clock(track.first)} to ${clock(track.last)}`;
      row.setAttribute("aria-label", row.title);
      const span = made("i");
      span.style.left = `${100 * track.first / last}%`;
      span.style.width = `${Math.max(0.8, 100 * (track.last - track.first) / last)}%`;
      span.style.background = colour(track.id - 1);
      row.append(span);
      row.addEventListener("click", () => this.seek(track.first));
      return row;
    }));
  }

  point() {
    this.range.value = this.clip.at;
    this.time.textContent = clock(this.clip.frames[this.clip.at]?.time || 0);
  }

  go(at) {
    this.clip.go(at);
    this.point();
    this.moved();
  }

  step(by) { if (this.clip) { this.stop(); this.go(this.clip.at + by); } }

  // The first frame at or after a time.
  seek(seconds) {
    this.stop();
    const at = this.clip.frames.findIndex((frame) => frame.time >= seconds - 0.001);
    this.go(at < 0 ? this.clip.frames.length - 1 : at);
  }

  toggle() {
    if (this.timer) { this.stop(); return; }
    if (!this.clip || this.clip.frames.length < 2) return;
    if (this.clip.at >= this.clip.frames.length - 1) this.go(0);
    const next = () => {
      const { frames, at } = this.clip;
      if (at >= frames.length - 1) { this.stop(); return; }
      this.timer = setTimeout(() => { this.go(at + 1); next(); }, 1000 * Math.min(1, frames[at + 1].time - frames[at].time));
    };
    next();
    this.icon();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.icon();
  }

  icon() {
    const shape = this.timer ? "M4 3h3v10H4zM9 3h3v10H9z" : "M4 2.5l9 5.5-9 5.5z";
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", width: 15, height: 15, "aria-hidden": "true" })) svg.setAttribute(key, value);
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", shape);
    path.setAttribute("fill", "currentColor");
    svg.append(path);
    this.play.replaceChildren(svg);
    this.play.setAttribute("aria-label", this.timer ? "Stop" : "Play");
  }
}
