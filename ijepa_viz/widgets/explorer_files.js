// What the explorer saves: pictures, numbers, and a figure that the kernel draws.

// All pictures on one sheet, each {source: an image or canvas, words}.
async function saveSheet(pictures, outline, footer) {
  const side = 256, gap = 12, line = 24, columns = Math.min(4, pictures.length), rows = Math.ceil(pictures.length / columns);
  const high = Math.round((side * outline.grid[0]) / outline.grid[1]);
  const canvas = element("canvas", { width: columns * (side + gap) + gap, height: rows * (high + line + gap) + gap + line });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.font = "15px system-ui, sans-serif";
  pen.imageSmoothingEnabled = false;
  for (const [i, { source, words, lined }] of pictures.entries()) {
    const x = gap + (i % columns) * (side + gap), y = gap + Math.floor(i / columns) * (high + line + gap);
    let image = source;
    if (typeof source === "string") {
      image = new Image();
      image.src = source;
      await image.decode();
    }
    pen.drawImage(image, x, y, side, high);
    pen.fillStyle = "#1d1d1f";
    pen.fillText(words, x, y + high + 17, side);
    if (!lined || !outline.stroke) continue;
    const [rowCount, colCount] = outline.grid;
    pen.save();
    pen.translate(x, y);
    pen.scale(side / colCount, high / rowCount);
    pen.strokeStyle = outline.stroke;
    pen.lineWidth = (2 * colCount) / side;
    pen.stroke(new Path2D(borderPath(outline.hole, outline.grid)));
    pen.restore();
  }
  pen.fillText(footer, gap, canvas.height - 10, canvas.width - 2 * gap);
  const blob = await new Promise((give) => canvas.toBlob(give, "image/png"));
  download("samples.png", "image/png", blob);
}

// One line a patch; what was chosen stands in every line, so that files can be joined.
function saveNumbers(model) {
  const [, cols] = model.get("grid"), cosines = model.get("cosines");
  const quoted = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const settings = ["choice", "show", "seed", "steps", "guidance"];
  const lines = [["row", "col", "hidden", "cosine", "model", ...settings.slice(1)].join()];
  [...model.get("hole")].forEach((cell, i) => {
    const cosine = cosines[i] >= -1 ? cosines[i] : "";
    const chosen = settings.map((name) => quoted(name === "steps" && !model.get(name) ? "default" : model.get(name)));
    lines.push([Math.floor(i / cols), i % cols, cell, cosine, ...chosen].join());
  });
  download("numbers.csv", "text/csv", lines.join("\n") + "\n");
}

const NO_KERNEL = "A figure in PDF or SVG is drawn by the kernel, and this page has none: open the notebook, or save the samples as PNG.";

// save(ending) asks the kernel for the figure of what is shown, and saves it when it comes.
function figureSaver(model, complain) {
  let asked = null, timer = null;
  const save = (ending) => {
    if (model.get("offline") || model.get("heard") === undefined) return complain(NO_KERNEL);
    complain("");
    asked = Math.random();
    clearTimeout(timer);
    timer = setTimeout(() => complain(SILENT_KERNEL), model.get("patience") || PATIENCE);
    model.set("figure_wanted", { number: asked, ending });
    model.save_changes();
  };
  const answered = () => {
    const { number, error, name, type, content } = model.get("figure_file");
    if (number !== asked) return;  // of another view of this widget
    clearTimeout(timer);
    asked = null;
    complain(error ? `The figure was not drawn: ${error}` : "");
    if (!error) download(name, type, Uint8Array.from(atob(content), (c) => c.charCodeAt(0)));
  };
  model.on("change:figure_file", answered);
  return { save, cleanUp: () => { clearTimeout(timer); model.off("change:figure_file", answered); } };
}
