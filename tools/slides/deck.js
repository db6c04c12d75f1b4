// What is higher than the screen is drawn smaller until it fits: first the pictures, then the text.
const HEIGHT = 700, LEAST_PICTURE = 0.6, LEAST_TEXT = 0.6;

// Printed lines as large as the longest of them allows: a letter is 0.6 of its size wide.
function enlarge(section) {
  for (const pre of section.querySelectorAll("pre")) {
    const longest = Math.max(...pre.textContent.split("\n").map((line) => line.length));
    pre.style.fontSize = Math.min(0.8, 1120 / (0.61 * 33 * Math.max(longest, 1))) + "em";
  }
}

function fit(section) {
  enlarge(section);
  let picture = 1, text = 1;
  const draw = () => {
    section.style.setProperty("--picture", picture);
    section.style.fontSize = text + "em";
  };
  draw();
  while (section.scrollHeight > HEIGHT && (picture > LEAST_PICTURE || text > LEAST_TEXT)) {
    if (picture > LEAST_PICTURE && section.querySelector("img")) picture -= 0.05;
    else { picture = LEAST_PICTURE; text -= 0.05; }
    draw();
  }
}

Reveal.initialize({
  width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none", slideNumber: "c/t", plugins: [RevealNotes],
});
for (const event of ["ready", "slidechanged"]) Reveal.on(event, (e) => fit(e.currentSlide));
