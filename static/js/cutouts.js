// The sheet of cut-outs: one key per thought, bulk accept, backgrounds.

import { fields, send } from "./forms.js";
import { isComposing, named } from "./keys.js";
import { toast } from "./toast.js";

const form = document.getElementById("sheet");
const host = form?.querySelector("[data-cards]");
const cards = [...(host?.querySelectorAll("[data-card]") || [])];
let at = 0;

// -- backgrounds ---------------------------------------------------------------------------------------------------

const grounds = [...document.querySelectorAll("[data-grounds] button")];
function ground(name) {
  if (!host || !grounds.some((one) => one.dataset.ground === name)) return;
  host.dataset.ground = name;
  for (const one of grounds) one.setAttribute("aria-pressed", String(one.dataset.ground === name));
  localStorage.setItem("cutouts.ground", name);
}
for (const one of grounds) one.addEventListener("click", () => ground(one.dataset.ground));
ground(localStorage.getItem("cutouts.ground") || "checker");

// -- where we are --------------------------------------------------------------------------------------------------

function columns() {
  const top = cards[0]?.offsetTop;
  return Math.max(
    1,
    cards.findIndex((card) => card.offsetTop !== top),
  );
}

function move(to, isFocusing = true) {
  if (!cards.length) return;
  cards[at].classList.remove("is-at", "shows-photo");
  cards[at].tabIndex = -1;
  at = Math.max(0, Math.min(cards.length - 1, to));
  cards[at].classList.add("is-at");
  cards[at].tabIndex = 0;
  if (isFocusing) {
    cards[at].focus({ preventScroll: true });
    cards[at].scrollIntoView({ block: "nearest" });
  }
}

host?.addEventListener("click", (event) => {
  const card = event.target.closest("[data-card]");
  if (!card) return;
  move(cards.indexOf(card), !event.target.closest("a, input, label"));
});
host?.addEventListener("dblclick", (event) =>
  event.target.closest("[data-card]")?.querySelector("[data-edit]")?.click(),
);

// -- ticks ---------------------------------------------------------------------------------------------------------

const boxes = () => [...(form?.querySelectorAll("input[name=cutout]") || [])];
const says = form?.querySelector("[data-ticked]");
function count() {
  const ticked = boxes().filter((box) => box.checked).length;
  if (says) says.textContent = ticked ? `${ticked} ticked` : "";
}
form?.addEventListener("change", count);
form?.querySelector("[data-tick]")?.addEventListener("click", () => {
  const least = Number(form.querySelector(".percent").value);
  for (const card of cards) {
    const box = card.querySelector("input[name=cutout]");
    if (box) box.checked = card.classList.contains("wants-look") && Number(card.dataset.percent) >= least;
  }
  count();
});
form?.querySelector("[data-untick]")?.addEventListener("click", () => {
  for (const box of boxes()) box.checked = false;
  count();
});
form?.querySelector(".percent")?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !isComposing(event)) {
    event.preventDefault();
    form.querySelector("[data-tick]").click();
  }
});

// -- decisions ------------------------------------------------------------------------------------------------------

const TOLD = { accept: ["good", "accepted"], refuse: ["warn", "not accepted"] };

function mark(list, decision) {
  const [tone, word] = TOLD[decision];
  for (const card of list) {
    const state = document.createElement("span");
    state.className = `state ${tone}`;
    state.textContent = word;
    card.querySelector("[data-state]").replaceChildren(state);
    card.classList.toggle("wants-look", decision !== "accept");
    const box = card.querySelector("input[name=cutout]");
    if (box) box.checked = false;
  }
  count();
}

async function decide(list, decision) {
  const chosen = list.filter((card) => card.dataset.cutout);
  if (!chosen.length) {
    toast("This photo has no cut-out yet; press e to paint one.");
    return;
  }
  const earlier = chosen.map((card) => [
    card,
    card.querySelector("[data-state]").innerHTML,
    card.classList.contains("wants-look"),
  ]);
  mark(chosen, decision);
  try {
    const url = decision === "accept" ? form.action : form.dataset.refuse;
    const answer = await send(url, fields(chosen.map((card) => ["cutout", card.dataset.cutout])));
    if (answer.done)
      toast(answer.said, {
        action: { label: "Undo", key: "z", run: () => undo(earlier) },
        key: "decision",
        seconds: 10,
      });
    last = answer.done ? earlier : last;
  } catch (error) {
    restore(earlier);
    toast(error.message, { tone: "bad", seconds: 20 });
  }
}

let last = null;
function restore(earlier) {
  for (const [card, words, wants] of earlier) {
    card.querySelector("[data-state]").innerHTML = words;
    card.classList.toggle("wants-look", wants);
  }
}

async function undo(earlier = last) {
  try {
    const answer = await send(form.dataset.undo, fields([]));
    if (earlier) restore(earlier);
    else location.reload();
    last = null;
    toast(answer.said, { key: "decision" });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  form.classList.remove("is-busy");
  const list = cards.filter((card) => card.querySelector("input[name=cutout]:checked"));
  if (!list.length) {
    toast("Tick the cut-outs first, or press a on the one with the frame.");
    return;
  }
  decide(list, event.submitter?.formAction.includes("/refuse/") ? "refuse" : "accept");
});

// -- keys ----------------------------------------------------------------------------------------------------------

const steps = {
  ArrowLeft: () => -1,
  ArrowRight: () => 1,
  ArrowUp: () => -columns(),
  ArrowDown: () => columns(),
  j: () => 1,
  k: () => -1,
};
document.addEventListener("keydown", (event) => {
  if (!cards.length || document.querySelector("dialog[open]")) return;
  const key = named(event);
  const card = cards[at];
  const mayEdit = Boolean(form.querySelector("[data-accept]"));
  if (steps[key]) {
    event.preventDefault();
    move(at + steps[key]());
  } else if (key === "Space") {
    event.preventDefault();
    card.classList.toggle("shows-photo");
  } else if (key === "o") card.querySelector("[data-original]")?.click();
  else if (event.repeat || !mayEdit) return;
  else if (key === "a") {
    decide([card], "accept");
    move(at + 1);
  } else if (key === "x") {
    decide([card], "refuse");
    move(at + 1);
  } else if (key === "e" || key === "Enter") card.querySelector("[data-edit]")?.click();
  else if (key === "t") {
    const box = card.querySelector("input[name=cutout]");
    if (box) {
      box.checked = !box.checked;
      count();
    }
  } else if (key === "z") undo();
});
if (cards.length) move(0, false);
