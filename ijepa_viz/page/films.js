// Films: loops that were drawn when the page was built, all at one frame.

import { readBitmap } from "./files.js";
import { element } from "./painter.js";

const MILLISECONDS = 180;

// films: of data/site.json; without them the chapter and its way there are taken away.
export async function filmsSection(section, films) {
  if (!films) {
    document.querySelector("nav button[data-to=films]").remove();
    const next = document.querySelector("button.next[data-to=films]");
    next.dataset.to = "words";
    next.textContent = "Next: the words";
    section.remove();
    return;
  }
  const [height, width] = films.size, play = section.querySelector("[data-part=play]");
  const shelf = section.querySelector("[data-part=films]"), loops = [];
  for (const film of films.films) {
    const row = element("div", { className: "six" });
    for (const { words, predicted } of film.loops) {
      const canvas = element("canvas", { width, height, className: "loop" });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Film, ${words}`);
      loops.push({ canvas, predicted });
      row.append(element("figure", {}, canvas, element("figcaption", { textContent: words })));
    }
    shelf.append(row);
  }
  const sheet = await readBitmap("data/films.webp");
  let frame = 0, playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const draw = () => {
    loops.forEach(({ canvas, predicted }, i) => {
      canvas.getContext("2d").drawImage(sheet, frame * width, i * height, width, height, 0, 0, width, height);
      canvas.dataset.predicted = String(frame >= predicted);
    });
    section.dataset.frame = frame;
  };
  const name = () => { play.textContent = playing ? "Pause the films" : "Play the films"; };
  play.onclick = () => { playing = !playing; name(); };
  setInterval(() => {
    if (!playing) return;
    frame = (frame + 1) % films.frames;
    draw();
  }, MILLISECONDS);
  name();
  draw();
}
