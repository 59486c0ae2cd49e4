// The page: pictures on one side, the conversation on the other. Everything is wired here.

import * as api from "./api.js";
import * as download from "./download.js";
import { Answer, asked } from "./messages.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const FOLLOWERS = ["only the largest", "how much of the picture do they cover?", "undo"];

const pictures = []; // { url, data, name, size, sent, instances }
let session = null, active = 0, current = null, lastQuery = "", askedAt = 0.5, busy = false;

const stage = new Stage($("stage"), {
  singled: (at) => current?.lit(active, at),
  aimed: (box) => addMissed(box),
});

// --- pictures ---

async function add(files) {
  for (const file of files) {
    if (file.type.startsWith("video/")) { note("Clips are not answered here yet. Drop single pictures."); continue; }
    if (file.size > 24_000_000) { note(`${file.name}: over 24 MB. Scale it down first.`); continue; }
    const data = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(file);
    });
    const url = URL.createObjectURL(file);
    const size = await measured(url);
    pictures.push({ url, data, name: file.name, size: size || [300, 400], unseen: !size, sent: false });
  }
  if (pictures.length) showPicture(pictures.length - 1);
  suggest();
  $("query").focus({ preventScroll: true });
}

async function measured(url) {
  const image = new Image();
  image.src = url;
  try { await image.decode(); } catch { return null; } // a TIFF, say: the server shows it once it has it
  return [image.naturalHeight, image.naturalWidth];
}

function showPicture(at) {
  active = Math.min(Math.max(at, 0), pictures.length - 1);
  $("drop").hidden = $("examples").hidden = pictures.length > 0;
  $("viewer").hidden = pictures.length === 0;
  if (!pictures.length) return;
  stage.show(pictures[active]);
  $("strip").replaceChildren(...(pictures.length > 1 ? pictures.map(thumb) : []));
  ready();
}

function thumb(picture, at) {
  const one = document.createElement("button");
  one.className = "thumb";
  one.setAttribute("role", "tab");
  one.setAttribute("aria-selected", String(at === active));
  one.setAttribute("aria-label", `Picture ${at + 1}`);
  const image = Object.assign(document.createElement("img"), { src: picture.url, alt: "" });
  const number = Object.assign(document.createElement("b"), { textContent: at + 1 });
  one.append(image, number);
  one.addEventListener("click", () => showPicture(at));
  return one;
}

function ready() {
  const masks = pictures[active]?.instances?.some((one) => one.polygons);
  $("png").disabled = !masks;
  $("json").disabled = !current?.reply;
  $("missed").disabled = !current?.reply || !pictures[active]?.sent || busy;
}

// The server's own rendering, for what the browser cannot show.
async function fetchUnseen() {
  for (const [at, picture] of pictures.entries()) {
    if (!picture.unseen || !picture.sent) continue;
    picture.url = URL.createObjectURL(await api.media(session, at));
    picture.unseen = false;
  }
}

// --- questions ---

async function ask(query) {
  const words = query.trim();
  if (!words || busy) return;
  busy = true;
  $("send").disabled = true;
  aiming(false);
  lastQuery = words;
  askedAt = Number($("threshold").value);
  const fresh = pictures.filter((one) => !one.sent);
  $("welcome").hidden = true;
  asked($("messages"), words, fresh.length);
  $("query").value = "";
  grow();
  current = new Answer($("messages"), { single: singleFromChip, chosen: showAnswer });
  try {
    session ||= await opened();
    const images = fresh.map((one) => one.data);
    await api.ask({ session, query: words, images, threshold: askedAt }, (event) => told(current, event, fresh));
    await fetchUnseen();
    showAnswer(current);
  } catch (error) {
    if (error.status === 404 && session) { forget(); error.message += " Ask again to start a new one."; }
    current.failed(error.message);
  } finally {
    busy = false;
    $("send").disabled = false;
    $("again").hidden = true;
    suggest();
    ready();
  }
}

function told(answer, event, fresh) {
  for (const one of fresh) { one.sent = true; }
  if (event.event === "found") {
    answer.found(event);
    place(answer);
  } else if (event.event === "said") {
    answer.said(event);
    place(answer);
  } else if (event.event === "masks") {
    answer.masks(event.result);
    place(answer);
  }
}

// Put an answer's objects on their pictures; go to the picture that shows something.
function place(answer) {
  for (const picture of pictures) picture.instances = [];
  for (const [media, result] of answer.results) {
    if (pictures[media]) Object.assign(pictures[media], { instances: result.instances, size: result.size });
  }
  const shows = [...answer.results].filter(([, result]) => result.instances.length).map(([media]) => media);
  showPicture(shows.length && !shows.includes(active) ? shows[0] : active);
  stage.filter(Number($("threshold").value));
}

function showAnswer(answer) {
  document.querySelectorAll(".answer.shown").forEach((one) => one.classList.remove("shown"));
  answer.root.classList.add("shown");
  current = answer;
  place(answer);
}

function singleFromChip(answer, media, at) {
  if (answer !== current && media !== null) showAnswer(answer);
  if (media !== null && media !== active) showPicture(media);
  stage.single(at, false);
  answer.lit(media, at);
}

// --- what was missed ---

function aiming(on) {
  $("missed").setAttribute("aria-pressed", String(on));
  $("pointing").hidden = !on;
  stage.aiming(on);
}

async function addMissed(box) {
  aiming(false);
  busy = true;
  ready();
  asked($("messages"), "This is one, too.", 0);
  const answer = new Answer($("messages"), { single: singleFromChip, chosen: showAnswer });
  try {
    answer.said(await api.pointOut(session, active, box));
    showAnswer(answer);
  } catch (error) { answer.failed(error.message); }
  busy = false;
  ready();
}

// --- around it ---

async function opened() {
  const id = await api.newSession();
  sessionStorage.setItem("sam3-session", id);
  return id;
}

function forget() {
  session = null;
  sessionStorage.removeItem("sam3-session");
  for (const picture of pictures) picture.sent = false;
}

async function restore() {
  const id = sessionStorage.getItem("sam3-session");
  if (!id) return;
  try {
    const kept = await api.readSession(id);
    session = id;
    for (const { media, size } of kept.media) {
      const url = URL.createObjectURL(await api.media(id, media));
      pictures.push({ url, name: `picture ${media + 1}`, size, sent: true });
    }
    $("welcome").hidden = kept.turns.length > 0;
    for (const turn of kept.turns) {
      asked($("messages"), turn.query, 0);
      current = new Answer($("messages"), { single: singleFromChip, chosen: showAnswer });
      current.said(turn.reply);
      lastQuery = turn.query;
    }
    if (current) showAnswer(current);
    else showPicture(0);
  } catch { forget(); }
}

function note(text) {
  $("welcome").hidden = true;
  new Answer($("messages"), { single() {}, chosen() {} }).failed(text);
}

function suggest() {
  const words = !pictures.length ? [] : current?.results.size ? FOLLOWERS : [];
  $("suggestions").replaceChildren(...words.map((text) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    button.addEventListener("click", () => ask(text));
    return button;
  }));
}

function grow() {
  const box = $("query");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

async function showExamples() {
  for (const { picture, ask: question } of await api.examples()) {
    const card = Object.assign(document.createElement("button"), { className: "example", type: "button" });
    const image = Object.assign(document.createElement("img"), { src: `/examples/${encodeURIComponent(picture)}`, alt: "" });
    card.append(image, Object.assign(document.createElement("span"), { textContent: question }));
    card.addEventListener("click", async () => {
      const blob = await (await fetch(image.src)).blob();
      await add([new File([blob], picture, { type: blob.type })]);
      ask(question);
    });
    $("examples").append(card);
  }
}

function theme(change) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  let chosen = localStorage.getItem("sam3-theme");
  if (change) {
    chosen = (chosen || (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
    localStorage.setItem("sam3-theme", chosen);
  }
  if (chosen) document.documentElement.dataset.theme = chosen;
}

function wire() {
  $("composer").addEventListener("submit", (event) => { event.preventDefault(); ask($("query").value); });
  $("query").addEventListener("input", grow);
  $("query").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask($("query").value); }
  });
  for (const id of ["attach", "drop"]) $(id).addEventListener("click", () => $("files").click());
  $("drop").addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && $("files").click());
  $("files").addEventListener("change", (event) => { add([...event.target.files]); event.target.value = ""; });
  document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    add([...event.dataTransfer.files].filter((file) => /^(image|video)\//.test(file.type) || /\.tiff?$/i.test(file.name)));
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    if (files.length) { event.preventDefault(); add(files); }
  });
  $("threshold").addEventListener("input", () => {
    const value = Number($("threshold").value);
    $("threshold-value").textContent = value.toFixed(2);
    stage.filter(value);
    current?.filter(value);
    $("again").hidden = !lastQuery || Math.abs(value - askedAt) < 0.005;
  });
  $("again").addEventListener("click", () => ask(lastQuery));
  $("missed").addEventListener("click", () => aiming($("missed").getAttribute("aria-pressed") !== "true"));
  $("png").addEventListener("click", () => {
    const shown = pictures[active].instances.map((one, at) => ({ one, at })).filter(({ one }) => one.score >= stage.threshold);
    download.png(pictures[active], shown);
  });
  $("json").addEventListener("click", () => download.json(current.reply, current.results));
  $("fresh").addEventListener("click", () => { forget(); location.reload(); });
  $("help").addEventListener("click", () => $("helping").showModal());
  $("theme").addEventListener("click", () => theme(true));
  document.addEventListener("keydown", keys);
}

function keys(event) {
  if (event.key === "Escape") { aiming(false); stage.single(null); return; }
  if (event.target.matches("input, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = {
    "/": () => $("query").focus(), "?": () => $("helping").showModal(),
    "[": () => showPicture(active - 1), "]": () => showPicture(active + 1),
    m: () => $("missed").disabled || aiming(true),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
}

theme(false);
wire();
showExamples().catch(() => {});
restore();
