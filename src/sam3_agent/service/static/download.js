// What was found, to keep: the picture with its outlines as PNG, everything as JSON.

import { colour, path } from "./stage.js";

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const stem = (name) => (name || "picture").replace(/\.[^.]*$/, "").replace(/[^\w-]+/g, "_").slice(0, 60) || "picture";

export async function png(picture, instances) {
  const image = new Image();
  image.src = picture.url;
  await image.decode();
  const [height, width] = picture.size;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, width, height);
  const unit = Math.max(width, height) / 640;
  pen.lineJoin = "round";
  for (const { one, at } of instances) {
    if (!one.polygons) continue;
    const outline = new Path2D(path(one.polygons));
    pen.globalAlpha = 0.36;
    pen.fillStyle = colour(one.tint ?? at);
    pen.fill(outline, "evenodd");
    pen.globalAlpha = 1;
    for (const [line, style] of [[4 * unit, "#ffffff"], [2 * unit, colour(one.tint ?? at)]]) {
      pen.lineWidth = line;
      pen.strokeStyle = style;
      pen.stroke(outline);
    }
  }
  pen.font = `600 ${12 * unit}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  for (const { one, at } of instances) {
    const text = `${one.label} ${one.score.toFixed(2)}`;
    const wide = pen.measureText(text).width + 8 * unit;
    const x = Math.min(Math.max(0, one.box[0]), Math.max(0, width - wide));
    const y = Math.max(0, one.box[1] - 17 * unit);
    pen.fillStyle = colour(one.tint ?? at);
    pen.fillRect(x, y, wide, 17 * unit);
    pen.fillStyle = "#06100e";
    pen.fillText(text, x + 4 * unit, y + 2.5 * unit);
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  save(blob, `${stem(picture.name)}-found.png`);
}

export function json(reply, results) {
  const content = { ...reply, results: [...results.values()] };
  save(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }), `${reply.id}.json`);
}
