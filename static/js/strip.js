// The filmstrip: my last five decisions, this image, the next eight.

const SHAPES = {
  approved: "check",
  rejected: "cross",
  needs_revision: "revise",
  skipped: "skip",
  failed: "warn",
  pending: "clock",
};
const WORDS = {
  approved: "approved",
  rejected: "rejected",
  needs_revision: "sent back",
  skipped: "skipped",
  failed: "not saved",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function badge(decision) {
  const mark = document.createElement("span");
  mark.className = `badge ${decision}`;
  mark.append(icon(SHAPES[decision] || "info"));
  return mark;
}

// What must stand beside an image, such as "demo model".
export function disclaimerOf(text, extra = "") {
  const mark = document.createElement("span");
  mark.className = `disclaimer ${extra}`;
  mark.title = mark.textContent = text;
  return mark;
}

function film(src, label, { decision = "", disclaimer = "", isCurrent = false, onClick }) {
  const button = document.createElement("button");
  button.className = "film";
  button.title = disclaimer ? `${label}, ${disclaimer}` : label;
  button.setAttribute("aria-label", button.title);
  if (isCurrent) button.setAttribute("aria-current", "true");
  const image = document.createElement("img");
  image.src = src;
  image.alt = "";
  image.width = image.height = 64;
  image.decoding = "async";
  button.append(image);
  if (disclaimer) button.append(disclaimerOf(disclaimer, "over"));
  if (decision) button.append(badge(decision));
  button.addEventListener("click", () => {
    button.blur();
    onClick();
  });
  return button;
}

export function draw(host, { past, current, next, go }) {
  const films = past.slice(-5).map((one) =>
    film(one.strip, `${one.sku}: ${WORDS[one.decision] || one.decision}`, {
      decision: one.decision,
      disclaimer: one.disclaimer,
      onClick: () => go(one.task),
    }),
  );
  const gap = document.createElement("span");
  gap.className = "film-gap";
  films.push(gap);
  if (current)
    films.push(
      film(current.versions[0]?.strip, `${current.sku}, this one`, {
        isCurrent: true,
        decision: current.decision,
        disclaimer: current.versions[0]?.disclaimer,
        onClick: () => {},
      }),
    );
  for (const card of next.slice(0, 8)) {
    films.push(
      film(card.versions[0]?.strip, `${card.sku} ${card.name}`, {
        disclaimer: card.versions[0]?.disclaimer,
        onClick: () => go(card.id),
      }),
    );
  }
  host.replaceChildren(...films);
}
