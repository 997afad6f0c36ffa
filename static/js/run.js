// The run's page: cells that fill while one looks, arrows that walk them, the drawer that shows the one in hand.

import { isTyping } from "./keys.js";
import { toast } from "./toast.js";

const page = document.getElementById("run-page");
const matrix = document.getElementById("matrix");
const drawer = document.getElementById("drawer");
const csrf = () => document.body.dataset.csrf;

// -- live: only what is on the screen is asked for, only what changed comes back ------------------------------------

const onScreen = new Set();
const watcher =
  matrix &&
  new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) onScreen.add(entry.target);
        else onScreen.delete(entry.target);
      }
    },
    { root: matrix, rootMargin: "40px" },
  );

function watch(rows) {
  for (const row of rows) if (!row.classList.contains("matrix-top")) watcher.observe(row);
}

if (matrix) watch(matrix.querySelectorAll(".matrix-row"));

let isAsking = false;

async function look() {
  if (isAsking || document.hidden) return;
  isAsking = true;
  const head = document.getElementById("run-head");
  const marks = [...onScreen]
    .flatMap((row) => [...row.querySelectorAll("[data-mark]")])
    .map((cell) => `${cell.id.slice(5)}-${cell.dataset.mark}`);
  try {
    const answer = await fetch(page.dataset.live, {
      method: "POST",
      headers: { "X-CSRFToken": csrf() },
      body: new URLSearchParams({ cells: marks.join("."), head: head.dataset.mark }),
    });
    if (answer.status === 200) show(await answer.text());
  } catch {
    toast("The server cannot be reached. What you see may be old; it goes on when the connection is back.", {
      tone: "bad",
      seconds: 20,
      key: "offline",
    });
  } finally {
    isAsking = false;
  }
}

function show(html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  for (const element of Array.from(fresh.content.children)) {
    const old = document.getElementById(element.id);
    if (!old) continue;
    const inHand = document.activeElement;
    if (old.contains(inHand) && old !== inHand) continue; // somebody is at one of its buttons or fields
    if (old.querySelector("details.menu[open]")) continue;
    if (old.querySelector("details.failure-fold:not([open])"))
      element.querySelector("details")?.removeAttribute("open");
    for (const state of ["is-open", "is-quiet"]) if (old.classList.contains(state)) element.classList.add(state);
    old.replaceWith(element);
    if (old === inHand) element.focus({ preventScroll: true });
    if (element.classList.contains("is-open")) open(element, { isQuiet: true });
  }
}

function tick() {
  const seconds = Number(document.getElementById("run-head").dataset.poll);
  if (seconds)
    setTimeout(async () => {
      await look();
      tick();
    }, seconds * 1000);
}
if (page) tick();

// -- further rows come before their place is on the screen --------------------------------------------------------

const coming =
  matrix &&
  new IntersectionObserver(
    (entries) => {
      for (const entry of entries) if (entry.isIntersecting) append(entry.target);
    },
    { root: matrix, rootMargin: "2400px" },
  );

async function append(more) {
  coming.unobserve(more);
  const answer = await fetch(more.dataset.rows);
  if (!answer.ok) return; // the link in it still leads on
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  const rows = [...fresh.content.querySelectorAll(".matrix-row")];
  more.replaceWith(fresh.content);
  watch(rows);
  expect();
}

function expect() {
  const more = matrix?.querySelector(".matrix-more");
  if (more) coming.observe(more);
}
expect();

// -- arrows walk cells --------------------------------------------------------------------------------------------

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function neighbour(cell, [across, down]) {
  let row = cell.parentElement;
  let place = [...row.children].indexOf(cell);
  for (;;) {
    row = down < 0 ? row.previousElementSibling : down > 0 ? row.nextElementSibling : row;
    place += across;
    const found = row?.children[place];
    if (!found || row.classList.contains("matrix-top") || place < 1) return null;
    if (found.matches("a.matrix-cell")) return found;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || isTyping(event)) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && drawer && !drawer.hidden) {
    event.preventDefault();
    close();
    return;
  }
  const step = STEPS[event.key];
  if (!step || !matrix) return;
  const isAtCell = event.target.closest?.(".matrix-cell");
  const from =
    isAtCell ||
    (drawer.contains(event.target) || event.target === document.body ? matrix.querySelector(".is-open") : null);
  if (!from) return;
  event.preventDefault();
  const next = neighbour(from, step);
  if (!next) return;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (!drawer.hidden) open(next);
});

// -- the drawer -----------------------------------------------------------------------------------------------------

let wanted = 0;
let waiting = 0;

function open(cell, { isQuiet = false } = {}) {
  if (!isQuiet) drawer.replaceChildren(foretaste(cell));
  present(cell.id.slice(5), isQuiet);
  matrix.querySelector(".is-open")?.classList.remove("is-open");
  cell.classList.add("is-open");
}

// What is known before the server answers: the product, the variant, and the small image made big.
function foretaste(cell) {
  const detail = document.createElement("article");
  detail.className = "cell-detail";
  const name = document.createElement("h2");
  name.textContent = cell.parentElement.querySelector(".matrix-subject").title;
  const words = document.createElement("p");
  words.className = "soft";
  words.textContent = cell.getAttribute("aria-label");
  const frame = document.createElement("figure");
  frame.className = "cell-image booth-box";
  const image = cell.querySelector("img")?.cloneNode();
  if (image) {
    image.className = "is-foretaste";
    frame.append(image);
  }
  detail.append(name, words, frame);
  return detail;
}

function present(id, isQuiet) {
  const mine = ++wanted;
  const isFirst = drawer.hidden;
  if (isFirst) {
    drawer.hidden = false;
    page.classList.add("has-drawer");
  }
  clearTimeout(waiting);
  // Held arrows run over cells faster than anybody reads them.
  waiting = setTimeout(() => fetchDetail(id, mine, isQuiet), isFirst ? 0 : 90);
}

async function fetchDetail(id, mine, isQuiet) {
  if (!isQuiet) drawer.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(page.dataset.cell.replace("/0/", `/${id}/`), {
      headers: { "X-Requested-With": "drawer" },
    });
    if (mine !== wanted) return;
    if (!answer.ok) throw new Error(String(answer.status));
    const top = isQuiet ? drawer.scrollTop : 0;
    drawer.innerHTML = await answer.text();
    drawer.scrollTop = top;
  } catch {
    if (mine === wanted)
      toast("This image’s details did not come. Try once more; if it stays, load the page again.", {
        tone: "bad",
        key: "drawer",
      });
  } finally {
    if (mine === wanted) drawer.removeAttribute("aria-busy");
  }
}

function close() {
  wanted += 1;
  drawer.hidden = true;
  drawer.replaceChildren();
  page.classList.remove("has-drawer");
  const cell = matrix?.querySelector(".is-open");
  cell?.classList.remove("is-open");
  cell?.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const cell = event.target.closest?.("a.matrix-cell");
  if (cell && matrix.contains(cell)) {
    event.preventDefault();
    cell.focus({ preventScroll: true });
    open(cell);
    return;
  }
  const example = event.target.closest?.("#failures [data-cell]");
  if (example && drawer) {
    event.preventDefault();
    const there = document.getElementById(`cell-${example.dataset.cell}`);
    if (there) {
      there.scrollIntoView({ block: "center", inline: "nearest" });
      open(there);
    } else present(example.dataset.cell, false);
    return;
  }
  if (event.target.closest?.("[data-drawer-close]")) close();
});
