// The page of deliveries: select many with the mouse (Shift for a range) or the keys, and see how many.

import { isTyping, named } from "./keys.js";

const form = document.getElementById("delivery-form");
const boxes = form ? [...form.querySelectorAll("input[name=delivery]")] : [];
const all = form?.querySelector("[data-check-all]");
const everything = form?.querySelector("[data-everything]");
const words = form?.querySelector("[data-selected]");
let anchor = 0;

function show() {
  const count = boxes.filter((box) => box.checked).length;
  if (form) form.dataset.selected = count;
  for (const button of form?.querySelectorAll(".delivery-actions [name=verb]") ?? []) button.disabled = !count;
  if (words) words.textContent = words.dataset.label.replace("%s", count);
  if (all) {
    all.checked = count > 0 && count === boxes.length;
    all.indeterminate = count > 0 && count < boxes.length;
  }
}

form?.addEventListener("click", (event) => {
  const at = boxes.indexOf(event.target);
  if (at < 0) return;
  if (event.shiftKey) {
    for (const box of boxes.slice(Math.min(at, anchor), Math.max(at, anchor) + 1)) box.checked = boxes[at].checked;
  }
  anchor = at;
});

form?.addEventListener("change", (event) => {
  if (event.target === all) for (const box of boxes) box.checked = all.checked;
  if (event.target === everything) {
    for (const box of boxes) {
      box.disabled = everything.checked;
      box.checked = everything.checked;
    }
  }
  show();
});

// j and k go from row to row, as in review; Space belongs to the focused box.
document.addEventListener("keydown", (event) => {
  if (isTyping(event) || !boxes.length || document.querySelector("dialog[open]")) return;
  const step = { j: 1, k: -1 }[named(event)];
  if (!step) return;
  event.preventDefault();
  const at = boxes.indexOf(document.activeElement);
  const next = boxes[at < 0 ? 0 : Math.max(0, Math.min(boxes.length - 1, at + step))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
});

// Rows are read again while work is under way. The focus stays: htmx finds the same button by its id; if the button is
// gone, the row's box gets the focus.
let row = null;
document.addEventListener("htmx:beforeSwap", () => {
  row = document.activeElement?.closest?.(".delivery-table tr");
});
document.addEventListener("htmx:afterSettle", () => {
  if (row?.isConnected && document.activeElement === document.body) row.querySelector("input[name=delivery]")?.focus();
});

if (words) show();
addEventListener("pageshow", show);
