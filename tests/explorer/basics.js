// What every view has to have, checked in the page: an expression whose value is a list of faults.
(() => {
  const faults = [];
  const seen = (element) => element.getClientRects().length > 0 && getComputedStyle(element).visibility !== "hidden";
  const name = (element) => {
    const by = element.getAttribute("aria-labelledby");
    if (by) return by.split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim();
    const labels = [...(element.labels ?? [])].map((label) => label.textContent).join(" ");
    return (element.getAttribute("aria-label") || labels || element.textContent || element.querySelector?.("img[alt]")?.alt || "").trim();
  };
  const tell = (element) => element.outerHTML.slice(0, 120);
  for (const landmark of ["header", "nav", "main", "footer"]) if (document.querySelectorAll(landmark).length !== 1) faults.push(`expected one ${landmark}`);
  const headings = [...document.querySelectorAll("h1,h2,h3,h4")].filter(seen);
  if (headings.filter((heading) => heading.tagName === "H1").length !== 1) faults.push("expected one h1");
  headings.reduce((before, heading) => {
    const level = Number(heading.tagName[1]);
    if (level > before + 1) faults.push(`heading skips a level: ${tell(heading)}`);
    if (!heading.textContent.trim()) faults.push(`empty heading: ${tell(heading)}`);
    return level;
  }, 0);
  for (const element of document.querySelectorAll("input,select,textarea,button,a,progress,summary")) if (seen(element) && !name(element)) faults.push(`no name: ${tell(element)}`);
  for (const element of document.querySelectorAll("img")) if (!element.hasAttribute("alt")) faults.push(`no alt: ${tell(element)}`);
  for (const element of document.querySelectorAll("svg")) if (element.getAttribute("role") !== "img" || !name(element)) faults.push(`picture without words: ${tell(element)}`);
  for (const element of document.querySelectorAll("section")) if (!name(element)) faults.push(`section without a name: ${tell(element)}`);
  for (const element of document.querySelectorAll("[aria-labelledby]")) if (!name(element)) faults.push(`nothing labels ${tell(element)}`);
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`two ${id}`);
  if (document.querySelectorAll("[style],style").length > 0) faults.push("inline style");
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) {
    const out = [...document.querySelectorAll("body *")].filter((element) => seen(element) && element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".hidden"));
    faults.push(`${wide} px wide at ${innerWidth}: ${out.slice(0, 4).map(tell).join(" | ")}`);
  }
  // WCAG 2: 4.5 to 1 for text, 3 to 1 for large text.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colours = new Map();
  const rgba = (text) => {
    if (!colours.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      colours.set(text, [...canvas.getImageData(0, 0, 1, 1).data]);
    }
    return colours.get(text);
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const told = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(), count = 0; node && count < 3000; node = walker.nextNode(), count++) {
    const element = node.parentElement;
    if (!node.data.trim() || !seen(element) || element.closest("svg,.hidden,.join-word,noscript,option")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgba(style.color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const what = `${element.tagName}.${element.className}`;
    if (ratio < least && !told.has(what)) {
      told.add(what);
      faults.push(`contrast ${ratio.toFixed(2)}: ${tell(element)}`);
    }
  }
  return faults;
})();
