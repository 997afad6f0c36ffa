// A contact sheet by keyboard: j and k walk the rows, digits choose an image, 0 says that none is better.

import { named } from "./keys.js";

const rows = () => [...document.querySelectorAll("[data-row]")];
let current = "";

function here() {
  const inside = document.activeElement?.closest?.("[data-row]");
  return inside || document.getElementById(current) || null;
}

function go(step) {
  const all = rows();
  const at = all.indexOf(here());
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "start" });
}

document.addEventListener("focusin", (event) => {
  const row = event.target.closest?.("[data-row]");
  if (row) current = row.id;
});

// A row is drawn anew after a vote and while it is being made; whoever was in it stays in it.
document.body.addEventListener("htmx:afterSwap", () => {
  if (current && document.activeElement === document.body)
    document.getElementById(current)?.focus({ preventScroll: true });
});

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const key = named(event);
  if (key === "j" || key === "k") {
    event.preventDefault();
    go(key === "j" ? 1 : -1);
    return;
  }
  if (!/^[0-9]$/.test(key) || event.repeat) return;
  const pick = here()?.querySelector(`[data-pick="${key}"]:not(:disabled)`);
  if (!pick) return;
  event.preventDefault();
  pick.click();
});
