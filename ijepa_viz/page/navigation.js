// One scroll on a desk, cards on a phone: the bar goes to a section, and shows where one is.

// Returns show(id).
export function navigation() {
  const sections = [...document.querySelectorAll("main > section")], bar = document.querySelector("nav");
  const phone = matchMedia("(max-width: 720px)");
  const buttons = new Map([...bar.querySelectorAll("button[data-to]")].map((button) => [button.dataset.to, button]));
  let active = sections[0].id;
  const mark = (id) => {
    active = id;
    for (const section of sections) section.classList.toggle("active", section.id === id);
    for (const [to, button] of buttons) {
      if (to === id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    if (phone.matches) buttons.get(id)?.scrollIntoView({ block: "nearest", inline: "center" });
  };
  const show = (id) => {
    mark(id);
    if (phone.matches) scrollTo(0, 0);
    else document.getElementById(id).scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    document.getElementById(id).querySelector("h2").focus({ preventScroll: true });
  };
  for (const [to, button] of buttons) button.onclick = () => show(to);
  for (const button of document.querySelectorAll("button.next")) button.onclick = () => show(button.dataset.to);
  const onScroll = () => {
    if (phone.matches) return;
    const at = sections.filter((section) => section.getBoundingClientRect().top < 160).at(-1) || sections[0];
    if (at.id !== active) mark(at.id);
  };
  addEventListener("scroll", onScroll, { passive: true });
  mark(active);
  return show;
}
