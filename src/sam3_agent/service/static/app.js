// The page: pictures on one side, the conversation on the other. Everything is wired here.

import * as api from "./api.js";
import { Clip, Timeline } from "./clip.js";
import * as download from "./download.js";
import { Answer, asked } from "./messages.js";
import { Stage } from "./stage.js";
import { theme } from "./theme.js";

const $ = (id) => document.getElementById(id);
const CLIP_FOLLOWERS = ["when does the first one appear?", "how many of them are there?", "undo"];
const CLIPS = /\.(mp4|m4v|mov|avi|mkv|webm)$/i;
const isClip = (file) => file.type.startsWith("video/") || CLIPS.test(file.name);
const FOLLOWERS = ["only the largest", "how much of the picture do they cover?", "undo"];

const pictures = []; // { url, data, name, size, sent, instances }
let session = null, active = 0, current = null, lastQuery = "", askedAt = 0.5, busy = false;

const stage = new Stage($("stage"), {
  singled: (at) => current?.lit(active, at),
  aimed: (box) => addMissed(box),
});

const timeline = new Timeline($("timeline"), () => stage.show(pictures[active]));
const hears = { single: singleFromChip, chosen: showAnswer, sought: showTrack };

// --- pictures ---

async function add(files) {
  for (const file of files) {
    if (isClip(file)) { await addClip(file); continue; }
    if (file.size > 24_000_000) { note(`${file.name}: over 24 MB. Scale it down first.`); continue; }
    const data = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(file);
    });
    const url = URL.createObjectURL(file);
    const size = await measured(url);
    pictures.push({ url, data, file, name: file.name, size: size || [300, 400], unseen: !size, sent: false });
  }
  if (pictures.length) showPicture(pictures.length - 1);
  suggest();
  $("query").focus({ preventScroll: true });
}

// A clip goes to the server at once, so that its frames can be looked through before anything is asked.
async function addClip(file) {
  if (busy) { note(`${file.name}: wait for the answer first.`); return; }
  const clip = new Clip(file.name);
  busy = true;
  $("send").disabled = true;
  try {
    session ||= await opened();
    await sendPictures();
    timeline.news.textContent = `Sending ${file.name} ...`;
    pictures.push(clip);
    showPicture(pictures.length - 1);
    const { media } = await api.upload(session, file);
    clip.sent = true;
    await clip.fetch(session, media, () => pictures[active] === clip && showPicture(active));
    timeline.news.textContent = "";
  } catch (error) {
    timeline.news.textContent = "";
    const at = pictures.indexOf(clip);
    if (at >= 0 && !clip.sent) pictures.splice(at, 1);
    showPicture(pictures.length - 1);
    note(`${file.name}: ${error.message}`);
  } finally {
    busy = false;
    $("send").disabled = false;
  }
}

// Pictures dropped before a clip keep their numbers: they go first.
async function sendPictures() {
  for (const one of pictures) {
    if (one.sent) continue;
    await api.upload(session, one.file);
    one.sent = true;
  }
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
  timeline.show(pictures[active].clip ? pictures[active] : null);
  $("strip").replaceChildren(...(pictures.length > 1 ? pictures.map(thumb) : []));
  ready();
}

function thumb(picture, at) {
  const one = document.createElement("button");
  one.className = "thumb";
  one.setAttribute("role", "tab");
  one.setAttribute("aria-selected", String(at === active));
  one.setAttribute("aria-label", `Picture ${at + 1}`);
  const image = Object.assign(document.createElement("img"), { src: picture.clip ? picture.frames[0]?.url || "" : picture.url, alt: "" });
  const number = Object.assign(document.createElement("b"), { textContent: at + 1 });
  one.append(image, number);
  one.addEventListener("click", () => showPicture(at));
  return one;
}

function ready() {
  const masks = pictures[active]?.instances?.some((one) => one.polygons);
  $("png").disabled = !masks;
  $("json").disabled = !current?.reply;
  $("missed").disabled = pictures[active]?.clip || !current?.reply || !pictures[active]?.sent || busy;
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
  const fresh = pictures.filter((one) => !one.told);
  $("welcome").hidden = true;
  asked($("messages"), words, fresh.length, fresh.some((one) => one.clip));
  $("query").value = "";
  grow();
  current = new Answer($("messages"), hears);
  try {
    session ||= await opened();
    const images = fresh.filter((one) => !one.sent).map((one) => one.data);
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
    current.show(); // the suggestions have grown below it
    ready();
  }
}

function told(answer, event, fresh) {
  for (const one of fresh) { one.sent = true; one.told = true; }
  if (event.event === "frame") {
    answer.frame(event);
    watched(event);
  } else if (event.event === "found") {
    answer.found(event);
    place(answer);
  } else if (event.event === "said") {
    answer.said(event);
    place(answer);
  } else if (event.event === "masks") {
    answer.masks(event);
    const clip = event.frames && pictures[event.media];
    if (clip) {
      event.frames.forEach((frame) => clip.take(frame));
      if (active === event.media) { clip.go(clip.at); stage.show(clip); }
    } else place(answer);
  }
}

// A frame of a clip is done: show it, unless the one before is still being painted.
let painting = false;
function watched(event) {
  const clip = pictures[event.media];
  if (!clip?.clip) return;
  if (event.done === 1) { clip.shown = new Map(); clip.tracks = []; }
  clip.take(event);
  if (painting) return;
  painting = true;
  if (active !== event.media) showPicture(event.media);
  timeline.stop();
  timeline.go(event.frame);
  requestAnimationFrame(() => { painting = false; });
}

// Put an answer's objects on their pictures; go to the picture that shows something.
function place(answer) {
  for (const picture of pictures) { if (!picture.clip) picture.instances = []; }
  for (const [media, result] of answer.results) {
    const picture = pictures[media];
    if (picture?.clip) placeOnClip(picture, answer, result);
    else if (picture) Object.assign(picture, { instances: result.instances, size: result.size });
  }
  const shows = [...answer.results].filter(([, result]) => result.instances.length).map(([media]) => media);
  showPicture(shows.length && !shows.includes(active) ? shows[0] : active);
  stage.filter(Number($("threshold").value));
}

// The tracks of an answer on their clip; the page goes to the frame that shows most.
function placeOnClip(clip, answer, result) {
  if (!result.tracks || clip.answered === result) return;
  clip.answered = result;
  clip.answer(result);
  clip.go(result.frame);
}

function showTrack(answer, media, track) {
  if (answer !== current) showAnswer(answer);
  if (media !== active) showPicture(media);
  timeline.seek(track.first);
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
  const answer = new Answer($("messages"), hears);
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
  for (const picture of pictures) picture.sent = picture.told = false;
  for (const clip of pictures.filter((one) => one.clip)) pictures.splice(pictures.indexOf(clip), 1); // they were the server's
}

async function restore() {
  const id = sessionStorage.getItem("sam3-session");
  if (!id) return;
  try {
    const kept = await api.readSession(id);
    session = id;
    for (const { media, size, kind } of kept.media) {
      if (kind === "clip") {
        const clip = Object.assign(new Clip(`clip ${media + 1}`), { size, sent: true, told: kept.turns.length > 0 });
        pictures.push(clip);
        await clip.fetch(id, media, () => {});
        continue;
      }
      const url = URL.createObjectURL(await api.media(id, media));
      pictures.push({ url, name: `picture ${media + 1}`, size, sent: true, told: true });
    }
    $("welcome").hidden = kept.turns.length > 0;
    for (const turn of kept.turns) {
      asked($("messages"), turn.query, 0);
      current = new Answer($("messages"), hears);
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
  const follow = pictures[active]?.clip ? CLIP_FOLLOWERS : FOLLOWERS;
  const words = !pictures.length ? [] : current?.results.size ? follow : [];
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
    add([...event.dataTransfer.files].filter((file) => /^(image|video)\//.test(file.type) || /\.tiff?$/i.test(file.name) || CLIPS.test(file.name)));
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
    " ": () => timeline.toggle(), ",": () => timeline.step(-1), ".": () => timeline.step(1),
    m: () => $("missed").disabled || aiming(true),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
}

theme(false);
wire();
showExamples().catch(() => {});
restore();
