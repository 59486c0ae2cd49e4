// The picture with its outlines: SVG over the image, so that edges stay crisp at every size.

const SVG = "http://www.w3.org/2000/svg";
export const PALETTE = ["#00c2a8", "#ff7a45", "#5b8def", "#f5b700", "#c774e8", "#ff5c8a", "#7bc950", "#00a6ed"];
export const colour = (at) => PALETTE[at % PALETTE.length];
export const path = (rings) => rings.map((ring) => {
  let text = "";
  for (let i = 0; i < ring.length; i += 2) text += `${i ? "L" : "M"}${ring[i]} ${ring[i + 1]}`;
  return `${text}Z`;
}).join("");

function node(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export class Stage {
  // root: an empty element. singled: called with the number of the object under the pointer, or null.
  // aimed: called with a box [x0, y0, x1, y1] in pixels of the picture.
  constructor(root, { singled, aimed }) {
    Object.assign(this, { root, singled, aimed, instances: [], threshold: 0, picture: null });
    this.frame = Object.assign(document.createElement("div"), { className: "frame" });
    this.image = Object.assign(document.createElement("img"), { alt: "", draggable: false });
    this.svg = node("svg", { "aria-label": "what was found", role: "group" });
    this.labels = Object.assign(document.createElement("div"), { className: "labels" });
    this.frame.append(this.image, this.svg, this.labels);
    root.append(this.frame);
    this.aim = null;
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.svg.addEventListener("pointermove", (event) => this.drag(event));
    this.svg.addEventListener("pointerup", (event) => this.release(event));
    new ResizeObserver(() => { this.fit(); this.tuck(); }).observe(root);
  }

  // Show a picture; `size` [height, width] is what boxes are measured in.
  show(picture) {
    this.picture = picture;
    if (this.image.src !== picture.url) this.image.src = picture.url;
    this.image.alt = picture.name || "picture";
    const [height, width] = picture.size;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.fit();
    this.draw(picture.instances || []);
  }

  fit() {
    if (!this.picture) return;
    const [height, width] = this.picture.size;
    const style = getComputedStyle(this.root);
    const room = [this.root.clientWidth - 2 * parseFloat(style.paddingLeft), this.root.clientHeight - 2 * parseFloat(style.paddingTop)];
    const narrow = window.matchMedia("(max-width: 860px)").matches;
    const high = narrow ? window.innerHeight * 0.42 : room[1];
    const scale = Math.min(room[0] / width, high / height, 4);
    this.frame.style.width = `${Math.floor(width * scale)}px`;
    this.frame.style.height = `${Math.floor(height * scale)}px`;
  }

  draw(instances) {
    this.instances = instances;
    this.svg.replaceChildren();
    this.labels.replaceChildren();
    // large things first, so that small ones in front of them can be pointed at
    const order = instances.map((_, at) => at).sort((a, b) => instances[b].area - instances[a].area);
    for (const at of order) this.svg.append(this.thing(instances[at], at));
    instances.forEach((one, at) => this.labels.append(this.tag(one, at)));
    this.filter(this.threshold);
  }

  thing(one, at) {
    const group = node("g", { class: `thing${one.sure ? "" : " unsure"}`, tabindex: 0, "data-at": at, role: "img" });
    group.setAttribute("aria-label", `${one.label}, score ${one.score.toFixed(2)}${one.sure ? "" : ", not sure"}`);
    if (one.polygons) {
      const outline = path(one.polygons);
      group.append(node("path", { class: "casing", d: outline }));
      group.append(node("path", { class: "mask", d: outline, fill: colour(one.tint ?? at), stroke: colour(one.tint ?? at) }));
    } else {
      const [x0, y0, x1, y1] = one.box;
      const box = { x: x0, y: y0, width: x1 - x0, height: y1 - y0, rx: 2 };
      group.append(node("rect", { class: "early", ...box, fill: colour(one.tint ?? at), stroke: colour(one.tint ?? at) }));
    }
    for (const [come, go] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
      group.addEventListener(come, () => this.aim === null && this.single(at));
      group.addEventListener(go, () => this.aim === null && this.single(null));
    }
    return group;
  }

  tag(one, at) {
    const tag = Object.assign(document.createElement("div"), { className: "tag" });
    const [height, width] = this.picture.size;
    tag.textContent = `${one.label} ${one.score.toFixed(2)}${one.sure ? "" : " ?"}`;
    tag.style.left = `${100 * Math.max(0, one.box[0]) / width}%`;
    tag.style.top = `${100 * Math.max(0, one.box[1]) / height}%`;
    tag.style.background = colour(one.tint ?? at);
    tag.dataset.at = at;
    return tag;
  }

  // Labels that would cover another one wait until their object is pointed at.
  tuck() {
    const frame = this.frame.getBoundingClientRect();
    const placed = [];
    for (const tag of this.labels.children) {
      if (tag.hidden) continue;
      tag.classList.remove("tucked", "inside");
      tag.style.marginLeft = "0";
      let box = tag.getBoundingClientRect();
      if (box.top < frame.top - 2) tag.classList.add("inside");
      if (box.right > frame.right) tag.style.marginLeft = `${Math.floor(frame.right - box.right)}px`;
      box = tag.getBoundingClientRect();
      const meets = placed.some((p) => box.left < p.right && p.left < box.right && box.top < p.bottom && p.top < box.bottom);
      if (meets) tag.classList.add("tucked"); else placed.push(box);
    }
  }

  // Hide what scores less; returns how many stay.
  filter(threshold) {
    this.threshold = threshold;
    let shown = 0;
    const hidden = (at) => this.instances[at].score < threshold;
    for (const one of this.svg.querySelectorAll(".thing")) one.style.display = hidden(one.dataset.at) ? "none" : "";
    for (const tag of this.labels.children) tag.hidden = hidden(tag.dataset.at);
    for (let at = 0; at < this.instances.length; at += 1) shown += hidden(at) ? 0 : 1;
    this.tuck();
    return shown;
  }

  single(at, tell = true) {
    this.frame.classList.toggle("single", at !== null);
    for (const one of [...this.svg.querySelectorAll(".thing"), ...this.labels.children]) {
      one.classList.toggle("on", at !== null && Number(one.dataset.at) === at);
    }
    if (tell) this.singled(at);
  }

  // --- pointing at what was missed ---

  aiming(on) {
    this.frame.classList.toggle("aiming", on);
    this.aim = on ? {} : null;
    this.svg.querySelector(".aim")?.remove();
    if (on) this.single(null);
  }

  at(event) {
    const box = this.svg.getBoundingClientRect();
    const [height, width] = this.picture.size;
    const clamp = (value, most) => Math.min(Math.max(value, 0), most);
    return [clamp((event.clientX - box.left) / box.width * width, width), clamp((event.clientY - box.top) / box.height * height, height)];
  }

  press(event) {
    if (this.aim === null) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    this.aim = { from: this.at(event) };
  }

  drag(event) {
    if (!this.aim?.from) return;
    const [a, b] = [this.aim.from, this.at(event)];
    let rect = this.svg.querySelector(".aim");
    if (!rect) { rect = node("rect", { class: "aim" }); this.svg.append(rect); }
    const values = { x: Math.min(a[0], b[0]), y: Math.min(a[1], b[1]), width: Math.abs(a[0] - b[0]), height: Math.abs(a[1] - b[1]) };
    for (const [key, value] of Object.entries(values)) rect.setAttribute(key, value);
  }

  release(event) {
    if (!this.aim?.from) return;
    const [a, b] = [this.aim.from, this.at(event)];
    this.aim = {};
    const [height, width] = this.picture.size;
    let box = [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
    const tiny = 0.012 * Math.max(height, width);
    if (box[2] - box[0] < tiny || box[3] - box[1] < tiny) box = this.around(a);
    this.aimed(box.map((value) => Math.round(value * 10) / 10));
  }

  // A click is a box as large as the things found already, or a seventh of the picture.
  around([x, y]) {
    const [height, width] = this.picture.size;
    const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
    const boxes = this.instances.map((one) => one.box);
    const wide = (boxes.length ? median(boxes.map((b) => b[2] - b[0])) : Math.min(width, height) / 7) / 2;
    const high = (boxes.length ? median(boxes.map((b) => b[3] - b[1])) : Math.min(width, height) / 7) / 2;
    return [Math.max(0, x - wide), Math.max(0, y - high), Math.min(width, x + wide), Math.min(height, y + high)];
  }
}
