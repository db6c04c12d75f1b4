// Files of the painter: masks, uploaded pictures, and the picture with its mask.

const MOST_BYTES = 40e6, MOST_PIXELS = 50e6, SENT_SIDE = 640;

function fileMenu(model, painter) {
  const [rows, cols] = painter.grid;
  const menu = element("details");
  const bar = element("div", { className: "bar" });
  menu.append(element("summary", { textContent: "Files" }), bar);

  const button = (label, tip, act) => bar.append(
    element("button", { type: "button", textContent: label, title: tip, onclick: act }));
  const chooser = (label, accept, tip, take) => {
    const input = element("input", { type: "file", accept, hidden: true });
    input.setAttribute("aria-label", label);
    input.onchange = async () => {
      const file = input.files[0];
      input.value = "";
      if (!file) return;
      painter.complain("");
      try { await take(file); } catch (error) { painter.complain(`${file.name}: ${error.message}`); }
    };
    button(label, tip, () => input.click());
    bar.append(input);
  };

  button("Save mask", "A JSON file that Masks.from_json reads", () => {
    const hidden = [], shown = [];
    painter.cells().forEach((c, i) => (c ? hidden : shown).push(i));
    if (!hidden.length || !shown.length) return painter.complain("Hide at least one patch and leave one visible, then save.");
    painter.complain("");
    download("mask.json", "application/json", JSON.stringify({ grid: [rows, cols], context: [shown], targets: [[hidden]] }));
  });
  chooser("Load mask", ".json,application/json", "A mask saved here, or by Masks.to_json", async (file) => {
    let data;
    try { data = JSON.parse(await file.text()); } catch { throw new Error("not a mask: it holds no JSON."); }
    const places = data?.targets?.flat?.(Infinity);
    if (!Array.isArray(places) || !Array.isArray(data.grid)) throw new Error('not a mask: it has no "grid" and "targets".');
    if (data.grid[0] !== rows || data.grid[1] !== cols) {
      throw new Error(`a mask of ${data.grid[0]}x${data.grid[1]} patches; this picture has ${rows}x${cols}.`);
    }
    if (!places.every((i) => Number.isInteger(i) && i >= 0 && i < rows * cols)) throw new Error("it names patches that are not there.");
    const next = Array(rows * cols).fill(false);
    places.forEach((i) => { next[i] = true; });
    painter.commit(next);
  });
  button("Save PNG", "The picture with its mask, as pixels", () => {
    const [head, body] = painter.snapshot().split(",");
    download("mask.png", head.slice(5, -7), Uint8Array.from(atob(body), (c) => c.charCodeAt(0)));
  });
  button("Save SVG", "The picture with its mask, for print", () => {
    const w = 320 / cols, tall = Math.round((320 * rows) / cols), h = tall / rows;
    const blocks = painter.cells().map((c, i) =>
      c ? `<rect x="${(i % cols) * w}" y="${Math.floor(i / cols) * h}" width="${w}" height="${h}"/>` : "").join("");
    download("mask.svg", "image/svg+xml",
      `<svg xmlns="http://www.w3.org/2000/svg" width="320" height="${tall}"><defs><pattern id="h" width="8" height="8" ` +
      `patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="8" height="8" fill="#D55E00" ` +
      `fill-opacity=".72"/><path d="M0 0V8" stroke="#fff" stroke-opacity=".75" stroke-width="1.5"/></pattern></defs>` +
      `<image href="${model.get("image")}" width="320" height="${tall}"/><g fill="url(#h)">${blocks}</g></svg>`);
  });
  for (const save of painter.saves) button(...save);
  if (model.get("uploads")) {
    chooser("Own picture", "image/*", painter.take ? "A JPEG, PNG or WebP; choose the part of it that is used"
      : "A JPEG, PNG or WebP; its middle is used", painter.take || ((file) => upload(model, file)));
  }
  return menu;
}

function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// The picture of a file, or an error that says what to do instead.
async function readPicture(file) {
  if (file.type === "image/gif") throw new Error("a GIF can be animated. Save one frame as PNG or JPEG and take that.");
  if (file.size > MOST_BYTES) throw new Error(`it has ${Math.round(file.size / 1e6)} MB. Save a smaller version, at most ${MOST_BYTES / 1e6} MB.`);
  const source = await new Promise((give, fail) => {
    const reader = new FileReader();
    reader.onload = () => give(reader.result);
    reader.onerror = () => fail(new Error("it cannot be read."));
    reader.readAsDataURL(file);
  });
  const image = new Image();
  await new Promise((give, fail) => {
    image.onload = give;
    image.onerror = () => fail(new Error("not an image that this browser can read. Take a JPEG, PNG or WebP."));
    image.src = source;
  });
  const { naturalWidth: width, naturalHeight: height } = image;
  if (width * height > MOST_PIXELS) {
    throw new Error(`${Math.round((width * height) / 1e6)} megapixels are too many. Save it with at most ${MOST_PIXELS / 1e6}.`);
  }
  return image;
}

// The page resizes the picture before the upload, from megabytes to kilobytes.
async function upload(model, file) {
  const image = await readPicture(file);
  const { naturalWidth: width, naturalHeight: height } = image;
  const shrink = Math.min(1, SENT_SIDE / Math.min(width, height));
  send(model, image, [0, 0, width, height], [Math.max(1, Math.round(width * shrink)), Math.max(1, Math.round(height * shrink))]);
}

// Upload a part (left, top, width, height) of a picture, at a size.
function send(model, image, part, [width, height]) {
  const canvas = element("canvas", { width, height });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";  // transparent pixels become white
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, ...part, 0, 0, width, height);
  model.set("upload", canvas.toDataURL("image/png"));
  model.set("seq", model.get("seq") + 1);
  model.save_changes();
}
