// Speaks to the service: conversations, questions with streamed answers, exemplars, feedback.

let key = sessionStorage.getItem("sam3-key") || "";

async function request(path, options = {}) {
  const headers = { ...(typeof options.body === "string" ? { "Content-Type": "application/json" } : {}) };
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    await askForKey();
    return request(path, options);
  }
  if (!response.ok) throw await problem(response);
  return response;
}

async function problem(response) {
  let said = `The server answered ${response.status}.`;
  try { said = (await response.json()).error.message; } catch { /* not JSON: the status has to do */ }
  const wait = response.headers.get("Retry-After");
  const error = new Error(wait ? `${said} (${wait} s)` : said);
  error.status = response.status;
  return error;
}

function askForKey() {
  const dialog = document.getElementById("asking-key");
  return new Promise((resolve, reject) => {
    dialog.addEventListener("close", () => {
      key = document.getElementById("key").value.trim();
      if (!key) { reject(new Error("Without a key nothing can be asked here.")); return; }
      sessionStorage.setItem("sam3-key", key);
      resolve();
    }, { once: true });
    dialog.showModal();
  });
}

const post = (path, body) => request(path, { method: "POST", body: JSON.stringify(body) });

export const examples = async () => (await request("/examples")).json();
export const newSession = async () => (await (await post("/v1/sessions", {})).json()).id;
export const readSession = async (id) => (await request(`/v1/sessions/${id}`)).json();
export const frames = async (id, number, first) => (await request(`/v1/sessions/${id}/media/${number}/frames?first=${first}`)).json();
export async function upload(id, file) {
  const body = new FormData();
  body.append("file", file);
  return (await request(`/v1/sessions/${id}/media`, { method: "POST", body })).json();
}
export const media = async (id, number) => (await request(`/v1/sessions/${id}/media/${number}`)).blob();
export const pointOut = async (id, number, box) =>
  (await post(`/v1/sessions/${id}/exemplars`, { media: number, box })).json();
export const feedback = (body) => post("/v1/feedback", body);

// Ask, and call `told` with each event: frame (of a clip, as it is done), found, said, masks, done.
export async function ask({ session, query, images, threshold }, told) {
  const content = [{ type: "text", text: query }, ...images.map((url) => ({ type: "image_url", image_url: { url } }))];
  const body = { messages: [{ role: "user", content }], session, threshold, stream: true, masks: "polygons" };
  const response = await post("/v1/chat/completions", body);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const chunk = JSON.parse(line.slice(6));
      if (chunk.error) throw new Error(chunk.error.message);
      if (chunk.sam3) told(chunk.sam3);
    }
  }
}
