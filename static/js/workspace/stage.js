// What is on the screen: the image, its detail, the filmstrip, the sheet; and moving between them.

import * as context from "../context.js";
import { post, Refused } from "../posts.js";
import { Sheet } from "../sheet.js";
import * as strip from "../strip.js";
import { toast } from "../toast.js";
import { Viewer } from "../viewer.js";
import {
  $,
  closedCards,
  current,
  state,
  openCards,
  imageOf,
  prepared,
  root,
  SAID,
  URLS,
  versionOf,
  view,
} from "./state.js";

const SURROUNDS = ["50", "20", "80", "white"];
export const sidebars = new Map();
const warmed = new Set();
let isLoadingMore = false;
let emptyUntil = 0; // nothing was left a moment ago

export const viewer = new Viewer($("panes"), { onZoom: showZoom });
export const sheet = new Sheet($("sheet"), {
  open: (id) => {
    setView("focus");
    go(id);
  },
});

export async function show() {
  const card = current();
  root.dataset.task = card ? card.id : "";
  closeReasons();
  $("done").hidden = Boolean(card);
  $("panes").hidden = !card;
  root.classList.toggle("is-empty", !card);
  viewer.beside(null);
  root.dataset.context = "";
  $("context").hidden = true;
  drawStrip();
  drawVerbs();
  if (!card) return showDone();
  document.title = `${card.sku} ${card.name} · Review`;
  showSidebar(card);
  const isShown = await viewer.show(imageOf(card));
  if (isShown && card === current()) warm();
}

export function drawStrip() {
  const card = current();
  const next = [...state.cards.slice(state.index + 1), ...state.cards.slice(0, state.index)].filter(
    (one) => !one.decision,
  );
  strip.draw($("films"), { past: state.past.filter((one) => one.task !== card?.id), current: card, next, go });
  const left = state.waiting - closedCards().length;
  $("left").textContent = left > 0 ? `${left} left` : "";
  if (view() === "sheet") sheet.draw(state.cards, card?.id);
}

export function drawVerbs() {
  const card = current();
  for (const bar of document.querySelectorAll(".verbs")) {
    bar.classList.toggle("is-decided", Boolean(card?.decision));
    bar.querySelector(".decision-said").textContent = card?.decision
      ? card.decision === "failed"
        ? `Not saved: ${card.failure}`
        : `${SAID[card.decision] || card.decision}. `
      : "";
  }
}

export function showZoom(percent, fit) {
  $("zoom").textContent = percent === null ? `Fit ${fit} %` : `${percent} %`;
}

export async function sidebarOf(card) {
  if (!sidebars.has(card.id)) {
    sidebars.set(
      card.id,
      fetch(card.sidebar, { credentials: "same-origin" })
        .then(async (answer) => {
          if (!answer.ok)
            throw new Refused(answer.status, { detail: `The details of this image did not load (${answer.status}).` });
          return answer.text();
        })
        .catch((problem) => {
          sidebars.delete(card.id);
          throw problem;
        }),
    );
  }
  return sidebars.get(card.id);
}

export async function showSidebar(card) {
  const body = $("sidebar-body");
  body.setAttribute("aria-busy", "true");
  try {
    const html = await sidebarOf(card);
    if (card !== current()) return;
    body.innerHTML = html;
  } catch (problem) {
    if (card !== current()) return;
    body.innerHTML =
      '<p class="note bad" role="alert"></p><button class="button" data-do="reload-sidebar">Load it again</button>';
    body.querySelector("p").textContent = problem.message;
  }
  body.removeAttribute("aria-busy");
  body.scrollTop = 0;
  dressSidebar(card);
}

export function dressSidebar(card) {
  const body = $("sidebar-body");
  for (const part of body.querySelectorAll("[data-version]"))
    part.hidden = Number(part.dataset.version) !== card.chosen;
  for (const pick of body.querySelectorAll("[data-candidate]")) {
    pick.setAttribute("aria-pressed", String(Number(pick.dataset.candidate) === card.chosen));
  }
  const own = body.querySelector(`[data-version="${card.chosen}"]`);
  for (const pick of body.querySelectorAll("[data-file]"))
    pick.setAttribute("aria-pressed", String(Number(pick.dataset.file) === card.file && own?.contains(pick)));
  for (const item of body.querySelectorAll("[data-item]")) {
    const answer = card.answers[item.dataset.item] || "";
    for (const choice of item.querySelectorAll("button"))
      choice.setAttribute("aria-pressed", String(choice.value === answer));
  }
}

// Fetches the next three images and their asset_details, so that they are there before they are asked for.
export function warm() {
  const next = [...state.cards.slice(state.index + 1), ...state.cards.slice(0, state.index)]
    .filter((one) => !one.decision)
    .slice(0, 3);
  for (const card of next) {
    if (warmed.has(card.id)) continue;
    warmed.add(card.id);
    const image = new Image();
    image.src = imageOf(card).src;
    card.warm = image;
    image.decode().catch(() => warmed.delete(card.id));
    sidebarOf(card).catch(() => {});
  }
  if (openCards().length <= 6) loadMore(false);
}

export async function loadMore(isAsked = true) {
  if (isLoadingMore || (!isAsked && Date.now() < emptyUntil)) return;
  isLoadingMore = true;
  try {
    const said = await post(URLS.more, { known: state.cards.map((card) => card.id) });
    state.waiting = said.waiting + closedCards().length;
    state.heldByOthers = said.held_by_others;
    const fresh = said.cards.map(prepared);
    if (!fresh.length) emptyUntil = Date.now() + 30000;
    state.cards.push(...fresh);
    if (fresh.length) {
      if (!current() || current().decision) advance();
      else drawStrip();
    }
  } catch (problem) {
    if (problem instanceof Refused && problem.status === 401) signIn();
  } finally {
    isLoadingMore = false;
  }
}

export function showDone() {
  const decided = state.cards.filter(
    (card) => card.decision && card.decision !== "skipped" && card.decision !== "failed",
  ).length;
  const open = state.waiting + state.heldByOthers;
  $("done-words").textContent = decided
    ? `You decided ${decided} ${decided === 1 ? "image" : "images"} in this sitting.`
    : open > 0
      ? `${open} ${open === 1 ? "image waits" : "images wait"}, but none that you can take now: others hold them, or you skipped them.`
      : "Nothing waits for you at the moment.";
}

export function go(id) {
  const found = state.cards.findIndex((card) => card.id === id);
  if (found < 0) return location.assign(`?task=${id}`);
  state.index = found;
  show();
}

export function move(by) {
  const next = Math.max(0, Math.min(state.cards.length - 1, state.index + by));
  if (next !== state.index) {
    state.index = next;
    show();
  }
}

export function advance() {
  const order = [...state.cards.keys()]
    .slice(state.index + 1)
    .concat([...state.cards.keys()].slice(0, state.index + 1));
  const next = order.find((place) => !state.cards[place].decision);
  state.index = next ?? state.cards.length;
  show();
}

export function choose(id) {
  const card = current();
  if (!card || card.chosen === id) return;
  card.chosen = id;
  card.file = 0;
  dressSidebar(card);
  viewer.show(imageOf(card));
}

export function answer(code, value = "") {
  const card = current();
  if (!card || card.decision) return;
  const turn = { "": "yes", yes: "no", no: "n/a", "n/a": "yes" };
  card.answers[code] = value || turn[card.answers[code] || ""];
  dressSidebar(card);
}

export function compare() {
  const card = current();
  if (!card) return;
  if (viewer.other && root.dataset.beside === "compare") {
    root.dataset.beside = "";
    viewer.beside(null);
    return;
  }
  const others = [
    ...card.versions.filter((one) => one.id !== card.chosen).map((one) => imageOf(card, one)),
    ...card.earlier.map((one) => ({ ...one, marks: [] })),
  ];
  if (!others.length) {
    toast("Nothing to compare with: one candidate, first round.", { key: "ready", seconds: 4 });
    return;
  }
  root.dataset.beside = "compare";
  viewer.beside(others[0]);
}

export function reference() {
  const card = current();
  if (viewer.other && root.dataset.beside === "reference") {
    root.dataset.beside = "";
    viewer.beside(null);
    return;
  }
  if (!card?.photo) {
    toast("This subject has no reference photo.", { key: "ready", seconds: 4 });
    return;
  }
  root.dataset.beside = "reference";
  viewer.beside({ ...card.photo, label: "Reference photo", marks: [] });
}

export function inContext() {
  const card = current();
  if (!card) return;
  const isOpen = $("context").hidden;
  $("context").hidden = !isOpen;
  $("panes").hidden = isOpen;
  if (isOpen) context.draw($("context"), card, versionOf(card));
}

export function setView(name) {
  root.dataset.view = name;
  closeReasons();
  $("sheet").hidden = name !== "sheet";
  $("booth").hidden = name === "sheet";
  if (name === "sheet") {
    sheet.draw(state.cards, current()?.id);
    sheet.host.focus();
  } else {
    sheet.selected.clear();
    $("selection").textContent = "";
    viewer.draw();
  }
}

export function setSidebar(isOpen) {
  root.dataset.sidebar = isOpen ? "open" : "closed";
  localStorage.setItem("workspace.sidebar", root.dataset.sidebar);
}

export function turnSurround() {
  const next = SURROUNDS[(SURROUNDS.indexOf(root.dataset.surround) + 1) % SURROUNDS.length];
  root.dataset.surround = next;
  localStorage.setItem("workspace.surround", next);
  toast(next === "white" ? "Surround: white" : `Surround: L* ${next}`, { key: "surround", seconds: 2 });
}

export function back() {
  if (state.asking) return closeReasons();
  if (view() === "sheet" && sheet.selected.size) return sheet.clear();
  if (!$("context").hidden) return inContext();
  if (viewer.other) {
    root.dataset.beside = "";
    return viewer.beside(null);
  }
  if (!viewer.isFit && view() === "focus") return viewer.zoomTo(0);
  if (view() === "focus") return setView("sheet");
  return $("leave").requestSubmit();
}

export function openSheetCard() {
  const card = state.cards[sheet.at];
  setView("focus");
  if (card) go(card.id);
}

export function closeReasons() {
  state.asking = null;
  $("reasons").hidden = true;
  $("answers").hidden = true;
}

export function signIn() {
  toast("Your session has ended. Sign in again; what you decided until now is kept.", {
    tone: "bad",
    seconds: 120,
    key: "signed-out",
    action: {
      label: "Sign in",
      run: () => location.assign(`${URLS.login}?next=${encodeURIComponent(location.pathname)}`),
    },
  });
}
