// The review room: one list of cards, one current card, and what each key does to it.

import * as keys from "./keys.js";
import { at, post, Refused } from "./posts.js";
import { Sheet } from "./sheet.js";
import * as strip from "./strip.js";
import { dismiss, toast } from "./toast.js";
import { Viewer } from "./viewer.js";
import * as context from "./context.js";

const $ = (id) => document.getElementById(id);
const state = JSON.parse($("room-state").textContent);
const root = $("room");
const URLS = state.urls;
const SURROUNDS = ["50", "20", "80", "white"];
const SAID = { approved: "Approved", rejected: "Rejected", needs_revision: "Sent back", skipped: "Skipped" };

const cards = state.cards.map(prepared);
let index = Math.max(0, cards.findIndex((card) => card.id === state.first));
let waiting = state.waiting;
const past = [...state.lately];
const rails = new Map();
const warmed = new Set();
let lastReason = { rejected: localStorage.getItem("room.reason.rejected"), needs_revision: localStorage.getItem("room.reason.needs_revision") };
let asking = null; // the verdict whose reasons are open
let isLoadingMore = false;
let emptyUntil = 0; // nothing was left a moment ago
let lastTouch = Date.now();

const viewer = new Viewer($("panes"), { onZoom: showZoom });
const sheet = new Sheet($("sheet"), { open: (id) => { setView("focus"); go(id); } });

function prepared(card) {
  const chosen = card.versions.some((one) => one.id === card.current) ? card.current : card.versions[0]?.id;
  return { ...card, chosen, file: 0, answers: {}, verdict: "", decision: null };
}

const current = () => cards[index] || null;
const versionOf = (card) => card.versions.find((one) => one.id === card.chosen) || card.versions[0];
const openCards = () => cards.filter((card) => !card.verdict);
const view = () => root.dataset.view;

// -- showing -------------------------------------------------------------------------------------------------------

function pictureOf(card, version = versionOf(card)) {
  const file = version.files[card.file] || version.files[0];
  return { src: file.src, width: file.width, height: file.height, under: version.strip, marks: version.marks,
    alt: `${card.sku} ${card.name}`, label: `Candidate ${version.candidate}` };
}

async function show() {
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
  showRail(card);
  const isShown = await viewer.show(pictureOf(card));
  if (isShown && card === current()) warm();
}

function drawStrip() {
  const card = current();
  const next = [...cards.slice(index + 1), ...cards.slice(0, index)].filter((one) => !one.verdict);
  strip.draw($("films"), { past: past.filter((one) => one.task !== card?.id), current: card, next, go });
  const left = waiting - cards.filter((one) => one.verdict && one.verdict !== "skipped").length;
  $("left").textContent = left > 0 ? `${left} left` : "";
  if (view() === "sheet") sheet.draw(cards, card?.id);
}

function drawVerbs() {
  const card = current();
  for (const bar of document.querySelectorAll(".verbs")) {
    bar.classList.toggle("is-decided", Boolean(card?.verdict));
    bar.querySelector(".verdict-said").textContent = card?.verdict
      ? card.verdict === "failed" ? `Not saved: ${card.failure}` : `${SAID[card.verdict] || card.verdict}. ` : "";
  }
}

function showZoom(percent, fit) {
  $("zoom").textContent = percent === null ? `Fit ${fit} %` : `${percent} %`;
}

async function railOf(card) {
  if (!rails.has(card.id)) {
    rails.set(card.id, fetch(card.rail, { credentials: "same-origin" }).then(async (answer) => {
      if (!answer.ok) throw new Refused(answer.status, { detail: `The story of this picture did not load (${answer.status}).` });
      return answer.text();
    }).catch((problem) => { rails.delete(card.id); throw problem; }));
  }
  return rails.get(card.id);
}

async function showRail(card) {
  const body = $("rail-body");
  body.setAttribute("aria-busy", "true");
  try {
    const html = await railOf(card);
    if (card !== current()) return;
    body.innerHTML = html;
  } catch (problem) {
    if (card !== current()) return;
    body.innerHTML = '<p class="note bad" role="alert"></p><button class="button" data-do="reload-rail">Load it again</button>';
    body.querySelector("p").textContent = problem.message;
  }
  body.removeAttribute("aria-busy");
  body.scrollTop = 0;
  dressRail(card);
}

function dressRail(card) {
  const body = $("rail-body");
  for (const part of body.querySelectorAll("[data-version]")) part.hidden = Number(part.dataset.version) !== card.chosen;
  for (const pick of body.querySelectorAll("[data-candidate]")) {
    pick.setAttribute("aria-pressed", String(Number(pick.dataset.candidate) === card.chosen));
  }
  const own = body.querySelector(`[data-version="${card.chosen}"]`);
  for (const pick of body.querySelectorAll("[data-file]")) pick.setAttribute("aria-pressed", String(Number(pick.dataset.file) === card.file && own?.contains(pick)));
  for (const item of body.querySelectorAll("[data-item]")) {
    const answer = card.answers[item.dataset.item] || "";
    for (const choice of item.querySelectorAll("button")) choice.setAttribute("aria-pressed", String(choice.value === answer));
  }
}

// Fetches the next three pictures and their stories, so that they are there before they are asked for.
function warm() {
  const next = [...cards.slice(index + 1), ...cards.slice(0, index)].filter((one) => !one.verdict).slice(0, 3);
  for (const card of next) {
    if (warmed.has(card.id)) continue;
    warmed.add(card.id);
    const image = new Image();
    image.src = pictureOf(card).src;
    card.warm = image;
    image.decode().catch(() => warmed.delete(card.id));
    railOf(card).catch(() => {});
  }
  if (openCards().length <= 6) loadMore(false);
}

async function loadMore(isAsked = true) {
  if (isLoadingMore || (!isAsked && Date.now() < emptyUntil)) return;
  isLoadingMore = true;
  try {
    const said = await post(URLS.more, { known: cards.map((card) => card.id) });
    waiting = said.waiting + cards.filter((one) => one.verdict && !["skipped", "failed"].includes(one.verdict)).length;
    const fresh = said.cards.map(prepared);
    if (!fresh.length) emptyUntil = Date.now() + 30000;
    cards.push(...fresh);
    if (fresh.length) {
      if (!current() || current().verdict) advance(); else drawStrip();
    }
  } catch (problem) {
    if (problem instanceof Refused && problem.status === 401) signIn();
  } finally {
    isLoadingMore = false;
  }
}

function showDone() {
  const decided = cards.filter((card) => card.verdict && card.verdict !== "skipped" && card.verdict !== "failed").length;
  $("done-words").textContent = decided
    ? `You decided ${decided} ${decided === 1 ? "picture" : "pictures"} in this sitting.`
    : "Nothing waits for you at the moment.";
}

// -- moving --------------------------------------------------------------------------------------------------------

function go(id) {
  const found = cards.findIndex((card) => card.id === id);
  if (found < 0) return location.assign(`?task=${id}`);
  index = found;
  show();
}

function move(by) {
  const next = Math.max(0, Math.min(cards.length - 1, index + by));
  if (next !== index) { index = next; show(); }
}

function advance() {
  const order = [...cards.keys()].slice(index + 1).concat([...cards.keys()].slice(0, index + 1));
  const next = order.find((place) => !cards[place].verdict);
  index = next ?? cards.length;
  show();
}

// -- deciding ------------------------------------------------------------------------------------------------------

function targets() {
  if (view() === "sheet") return sheet.targets;
  const card = current();
  return card && !card.verdict ? [card] : [];
}

// Whether a decision may be taken on these cards now; says in words why not.
function ready(chosen) {
  if (!chosen.length) {
    const card = current();
    if (card?.verdict) toast(`${card.sku} is ${(SAID[card.verdict] || "decided").toLowerCase()} already. Undo it first.`, { key: "ready", action: undoAction() });
    return false;
  }
  const isPainted = view() === "sheet" ? chosen.every((card) => sheet.isPainted(card)) : viewer.isPainted;
  if (!isPainted) toast("The picture is not on the screen yet; the key was ignored.", { key: "ready", seconds: 3 });
  return isPainted;
}

function approve() {
  const chosen = targets();
  if (!ready(chosen)) return;
  const unanswered = chosen.filter((card) => card.ask.some((item) => !card.answers[item.code]));
  if (unanswered.length) {
    if (view() === "sheet") {
      toast(`${unanswered.length} of ${chosen.length} want an answer first; open them one by one with f.`, { key: "ready" });
      return;
    }
    setRail(true);
    const open = chosen[0].ask.filter((item) => !chosen[0].answers[item.code]);
    $("rail-body").querySelector(`[data-item="${open[0].code}"]`)?.scrollIntoView({ block: "center" });
    const digits = chosen[0].ask.map((item, place) => (open.includes(item) ? place + 1 : 0)).filter(Boolean).join(", ");
    toast(`Answer first: ${open[0].sentence} (key ${digits})`, { key: "ready" });
    return;
  }
  for (const card of chosen) {
    decide(card, "approved", URLS.approve, { answers: card.answers });
  }
  after(chosen);
}

function decide(card, verdict, url, body) {
  const version = versionOf(card);
  const note = view() === "focus" && card === current() ? $("rail-body").querySelector("[name=note]")?.value || "" : "";
  const entry = { task: card.id, sku: card.sku, strip: version.strip, verdict, decision: null };
  card.verdict = verdict;
  card.entry = entry;
  past.push(entry);
  entry.send = () => post(at(url, card.id), { version: version.id, seen: version.seen, note, ...body });
  entry.promise = entry.send().then(
    (said) => { entry.decision = said.decision ?? null; return entry; },
    (problem) => { failed(card, entry, problem); return null; },
  );
}

function after(chosen) {
  lastTouch = Date.now();
  const said = SAID[chosen[0].verdict];
  const words = chosen.length === 1 ? `${said} ${chosen[0].sku}` : `${said} ${chosen.length} pictures`;
  history.push(chosen.map((card) => card.entry));
  dismiss("ready");
  toast(words, { key: "said", action: undoAction() });
  if (view() === "sheet") {
    sheet.selected.clear();
    drawStrip();
    const next = cards.findIndex((card, place) => place >= sheet.at && !card.verdict);
    if (next >= 0) { sheet.at = sheet.anchor = next; sheet.mark(); }
    if (openCards().length <= 6) loadMore(false);
  } else {
    advance();
  }
}

const history = [];
const undoAction = () => ({ label: "Undo", key: "z", run: undo });

function failed(card, entry, problem) {
  card.verdict = "";
  card.entry = null;
  entry.verdict = "failed";
  card.failure = problem.message;
  rails.delete(card.id);
  drawStrip();
  drawVerbs();
  const isRefused = problem instanceof Refused;
  if (isRefused && problem.status === 401) return signIn();
  const retry = { label: "Try again", run: () => { past.splice(past.indexOf(entry), 1); go(card.id); } };
  const look = { label: "Show it", run: () => location.assign(`?task=${card.id}`) };
  const words = isRefused ? `${card.sku}: ${problem.message}` : `${card.sku} was not saved: the server cannot be reached.`;
  toast(words, { tone: "bad", seconds: 30, key: `failed-${card.id}`, action: isRefused && [409, 412].includes(problem.status) ? look : retry });
  return null;
}

function signIn() {
  toast("Your session has ended. Sign in again; what you decided until now is kept.", {
    tone: "bad", seconds: 120, key: "signed-out",
    action: { label: "Sign in", run: () => location.assign(`${URLS.login}?next=${encodeURIComponent(location.pathname)}`) },
  });
}

async function undo() {
  let entries = history.pop();
  if (!entries) {
    const last = past.findLast((one) => one.decision && one.verdict !== "failed" && one.verdict !== "skipped");
    if (!last) return toast("There is nothing to undo.", { key: "said", seconds: 3 });
    entries = [last];
  }
  let first = null;
  for (const entry of entries) {
    await entry.promise;
    const card = cards.find((one) => one.id === entry.task);
    if (entry.verdict === "skipped") {
      if (card) { card.verdict = ""; first ??= card; }
    } else if (entry.decision) {
      const fresh = await takeBack(entry, false);
      if (!fresh) continue;
      if (card) Object.assign(card, prepared(fresh), { answers: card.answers });
      else cards.splice(index, 0, prepared(fresh));
      rails.delete(entry.task);
      first ??= cards.find((one) => one.id === entry.task);
    }
    const place = past.indexOf(entry);
    if (place >= 0) past.splice(place, 1);
  }
  if (!first) return null;
  toast(entries.length === 1 ? `${first.sku} is open again` : `${entries.length} pictures are open again`, { key: "said", seconds: 4 });
  index = cards.indexOf(first);
  if (view() === "sheet") drawStrip(); else show();
  return null;
}

async function takeBack(entry, withdraws) {
  try {
    return (await post(at(URLS.undo, entry.decision), { withdraws })).card;
  } catch (problem) {
    const places = problem.body?.withdraws;
    if (problem.status === 409 && places?.length && !withdraws) {
      toast(`${entry.sku}: ${problem.message}`, { tone: "bad", seconds: 30, action: { label: "Withdraw and undo", run: async () => {
        if (await takeBack(entry, true)) location.assign(`?task=${entry.task}`);
      } } });
    } else {
      toast(`${entry.sku} could not be undone: ${problem.message}`, { tone: "bad", seconds: 20 });
    }
    return null;
  }
}

function skip() {
  const chosen = targets();
  if (!chosen.length) return;
  for (const card of chosen) {
    decide(card, "skipped", URLS.skip, {});
  }
  after(chosen);
}

// -- reasons: a strip of digits over the picture's lower edge --------------------------------------------------------

function openReasons(verdict) {
  if (asking === verdict) return again();
  const chosen = targets();
  if (!ready(chosen)) return null;
  asking = verdict;
  const panel = $("reasons");
  panel.hidden = false;
  panel.querySelector("h2").textContent = verdict === "rejected"
    ? chosen.length === 1 ? `Reject ${chosen[0].sku}: why?` : `Reject ${chosen.length} pictures: why?`
    : `Send ${chosen[0].sku} back: why?`;
  panel.querySelector("[name=words]").value = "";
  for (const choice of panel.querySelectorAll("[data-reason]")) {
    choice.classList.toggle("is-last", choice.dataset.reason === lastReason[verdict]);
    choice.setAttribute("aria-pressed", "false");
  }
  if (verdict === "needs_revision") {
    setRail(true);
    const revise = $("rail-body").querySelector("#revise");
    if (revise) revise.open = true;
  }
  return null;
}

function closeReasons() {
  asking = null;
  $("reasons").hidden = true;
}

function again() {
  if (lastReason[asking]) return because(lastReason[asking]);
  return toast("No reason chosen yet; press its digit.", { key: "ready", seconds: 3 });
}

function because(code, words = "") {
  const verdict = asking;
  const chosen = targets();
  if (!verdict || !ready(chosen)) return;
  lastReason = { ...lastReason, [verdict]: code };
  localStorage.setItem(`room.reason.${verdict}`, code);
  closeReasons();
  if (verdict === "needs_revision") return sendBack(code, words);
  for (const card of chosen) decide(card, "rejected", URLS.reject, words ? { reason: code, note: words } : { reason: code });
  after(chosen);
}

// Sends the controls that differ from what they were. Where nothing differs, a new seed does if the engine has one.
function sendBack(reason, words = "") {
  const card = current();
  const form = $("rail-body").querySelector("#revise form");
  if (!form || !ready([card])) return;
  const controls = {};
  let seed = null;
  for (const field of form.querySelectorAll("[data-control]")) {
    if (field.dataset.kind === "seed") seed = field;
    if (field.value === field.dataset.was) continue;
    controls[field.dataset.control] = ["number", "seed"].includes(field.dataset.kind) ? Number(field.value) : field.value;
  }
  const retouch = form.elements.retouch.checked;
  const note = words || form.elements.words.value;
  if (!Object.keys(controls).length && !retouch) {
    if (seed) controls[seed.dataset.control] = Math.floor(Math.random() * 2 ** 31);
    else {
      form.elements.reason.value = reason;
      form.querySelector("[data-control]")?.focus();
      toast("Change what should come out differently, or tick retouching; Enter sends it back.", { key: "ready" });
      return;
    }
  }
  decide(card, "needs_revision", URLS.revise, { reason, controls, retouch, note });
  after([card]);
}

// -- candidates, answers, places -------------------------------------------------------------------------------------

function choose(id) {
  const card = current();
  if (!card || card.chosen === id) return;
  card.chosen = id;
  card.file = 0;
  dressRail(card);
  viewer.show(pictureOf(card));
}

function answer(code, value = "") {
  const card = current();
  if (!card || card.verdict) return;
  const turn = { "": "yes", yes: "no", no: "n/a", "n/a": "yes" };
  card.answers[code] = value || turn[card.answers[code] || ""];
  dressRail(card);
}

function compare() {
  const card = current();
  if (!card) return;
  if (viewer.other && root.dataset.beside === "compare") { root.dataset.beside = ""; viewer.beside(null); return; }
  const others = [...card.versions.filter((one) => one.id !== card.chosen).map((one) => pictureOf(card, one)), ...card.earlier.map((one) => ({ ...one, marks: [] }))];
  if (!others.length) { toast("Nothing to compare with: one candidate, first round.", { key: "ready", seconds: 4 }); return; }
  root.dataset.beside = "compare";
  viewer.beside(others[0]);
}

function reference() {
  const card = current();
  if (viewer.other && root.dataset.beside === "reference") { root.dataset.beside = ""; viewer.beside(null); return; }
  if (!card?.photo) { toast("This subject has no reference photo.", { key: "ready", seconds: 4 }); return; }
  root.dataset.beside = "reference";
  viewer.beside({ ...card.photo, label: "Reference photo", marks: [] });
}

function inContext() {
  const card = current();
  if (!card) return;
  const isOpen = $("context").hidden;
  $("context").hidden = !isOpen;
  $("panes").hidden = isOpen;
  if (isOpen) context.draw($("context"), card, versionOf(card).files[card.file]);
}

function setView(name) {
  root.dataset.view = name;
  closeReasons();
  $("sheet").hidden = name !== "sheet";
  $("booth").hidden = name === "sheet";
  if (name === "sheet") { sheet.draw(cards, current()?.id); sheet.host.focus(); }
  else viewer.draw();
}

function setRail(isOpen) {
  root.dataset.rail = isOpen ? "open" : "closed";
  localStorage.setItem("room.rail", root.dataset.rail);
}

function turnSurround() {
  const next = SURROUNDS[(SURROUNDS.indexOf(root.dataset.surround) + 1) % SURROUNDS.length];
  root.dataset.surround = next;
  localStorage.setItem("room.surround", next);
  toast(next === "white" ? "Surround: white" : `Surround: L* ${next}`, { key: "surround", seconds: 2 });
}

function back() {
  if (asking) return closeReasons();
  if (document.activeElement instanceof HTMLElement && document.activeElement !== document.body) document.activeElement.blur();
  if (!$("context").hidden) return inContext();
  if (viewer.other) { root.dataset.beside = ""; return viewer.beside(null); }
  if (!viewer.isFit && view() === "focus") return viewer.zoomTo(0);
  if (view() === "focus") return setView("sheet");
  return $("leave").requestSubmit();
}

function openSheetCard() {
  const card = cards[sheet.at];
  setView("focus");
  if (card) go(card.id);
}

// -- keys ------------------------------------------------------------------------------------------------------------

const actions = {
  a: approve, x: () => openReasons("rejected"), r: () => (view() === "sheet" ? openSheetCard() : openReasons("needs_revision")), s: skip,
};
const always = {
  z: undo, c: compare, v: reference, p: inContext, b: turnSurround,
  j: () => (view() === "sheet" ? sheet.move(1, false) : move(1)), k: () => (view() === "sheet" ? sheet.move(-1, false) : move(-1)),
  i: () => setRail(root.dataset.rail !== "open"), n: () => { setRail(true); $("rail-body").querySelector("[name=note]")?.focus(); },
  g: () => (view() === "sheet" ? openSheetCard() : setView("sheet")), f: () => (view() === "sheet" ? openSheetCard() : null),
  "+": () => (view() === "sheet" ? sheet.dense(1.2) : viewer.step(1.5)), "=": () => always["+"](),
  "-": () => (view() === "sheet" ? sheet.dense(1 / 1.2) : viewer.step(1 / 1.5)), "−": () => always["-"](),
  0: () => viewer.zoomTo(0), Escape: back, "?": () => $("keys").showModal(),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const name = keys.named(event);
  if (!name || name === "/") return;
  lastTouch = Date.now();
  if (name in actions) {
    event.preventDefault();
    if (!event.repeat) actions[name]();
    return;
  }
  if (/^[1-9]$/.test(name)) {
    event.preventDefault();
    if (event.repeat) return;
    digit(Number(name));
    return;
  }
  if (name === "Space") { event.preventDefault(); space(event); return; }
  if (name === "Enter") { enter(event); return; }
  if (name in ARROWS) { event.preventDefault(); arrow(name, event.shiftKey); return; }
  if (name in always) {
    event.preventDefault();
    if (event.repeat && !"jk+-=−".includes(name)) return;
    always[name]();
  }
});

function digit(number) {
  if (asking) {
    const reason = state.reasons[number - 1];
    if (reason) because(reason.code);
    return;
  }
  const item = current()?.ask[number - 1];
  if (item && view() === "focus") answer(item.code);
}

function enter(event) {
  event.preventDefault();
  if (event.repeat) return;
  if (asking) $("reasons").querySelector("[name=words]").focus();
  else if (view() === "sheet") openSheetCard();
}

function arrow(name, isShift) {
  const [dx, dy] = ARROWS[name];
  if (view() === "sheet") sheet.move(dx || dy * sheet.columns, isShift);
  else if (!viewer.isFit) viewer.pan(dx * 96, dy * 96);
  else move(dx || dy);
}

let wasFit = true;
function space(event) {
  if (view() === "sheet") { openSheetCard(); return; }
  if (event.repeat) return;
  wasFit = viewer.isFit;
  viewer.isHandHeld = true;
  viewer.hasPanned = false;
  if (wasFit) viewer.toggle();
}
document.addEventListener("keyup", (event) => {
  if (event.key !== " " || !viewer.isHandHeld) return;
  viewer.isHandHeld = false;
  if (!wasFit && !viewer.hasPanned) viewer.zoomTo(0);
});

// -- pointer -----------------------------------------------------------------------------------------------------------

const DO = {
  approve, skip, undo, compare, reference, sheet: () => (view() === "sheet" ? openSheetCard() : setView("sheet")), keys: () => $("keys").showModal(),
  reject: () => openReasons("rejected"), revise: () => openReasons("needs_revision"), context: inContext, surround: turnSurround,
  rail: () => setRail(root.dataset.rail !== "open"), back, more: () => loadMore(),
  "reload-rail": () => { rails.delete(current()?.id); showRail(current()); }, "close-reasons": closeReasons,
};

root.addEventListener("click", (event) => {
  const target = event.target.closest("button, [data-do]");
  if (!target) return;
  lastTouch = Date.now();
  if (target.dataset.do) { target.blur(); DO[target.dataset.do]?.(); return; }
  if (target.dataset.reason) return because(target.dataset.reason, $("reasons").querySelector("[name=words]").value.trim());
  if (target.dataset.candidate) { target.blur(); return choose(Number(target.dataset.candidate)); }
  if (target.dataset.file) {
    const card = current();
    card.file = Number(target.dataset.file);
    target.blur();
    dressRail(card);
    return viewer.show(pictureOf(card));
  }
  const item = target.closest("[data-item]");
  if (item && target.value) { target.blur(); answer(item.dataset.item, target.value); }
  return null;
});

for (const type of ["pointerover", "focusin"]) {
  root.addEventListener(type, (event) => {
    const finding = event.target.closest?.("[data-finding]");
    viewer.highlight(finding?.dataset.finding || "");
  });
}

root.addEventListener("submit", (event) => {
  if (event.target.id === "leave") return;
  event.preventDefault();
  document.activeElement?.blur();
  if (event.target.closest("#reasons")) {
    const code = lastReason[asking] || state.reasons.at(-1)?.code || "";
    because(code, event.target.elements.words.value.trim());
  } else if (event.target.closest("#revise")) {
    sendBack(event.target.elements.reason.value);
  }
});

root.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("textarea") && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (event.target.form) event.target.form.requestSubmit(); else event.target.blur();
  }
  if (event.key === "Escape" && keys.inField(event.target)) { event.stopPropagation(); event.target.blur(); }
});

let railTimer = 0;
$("sheet").addEventListener("selection", (event) => {
  $("selection").textContent = event.detail > 1 ? `${event.detail} selected` : "";
  if (view() !== "sheet" || !cards[sheet.at]) return;
  index = sheet.at;
  clearTimeout(railTimer);
  railTimer = setTimeout(() => { if (view() === "sheet" && current()) { showRail(current()); drawVerbs(); } }, 150);
});

$("keys").addEventListener("change", () => {
  keys.save({ preset: $("keys").querySelector("[name=preset]").value, off: $("keys").querySelector("[name=off]").checked });
});

// -- beginning -----------------------------------------------------------------------------------------------------------

const chosenKeys = keys.settings();
$("keys").querySelector("[name=preset]").value = chosenKeys.preset;
$("keys").querySelector("[name=off]").checked = chosenKeys.off;
root.dataset.surround = localStorage.getItem("room.surround") || "50";
root.dataset.rail = localStorage.getItem("room.rail") || "open";
setInterval(() => { if (Date.now() - lastTouch < 4 * 60000) loadMore(); }, 4 * 60000);
addEventListener("beforeunload", (event) => {
  if (cards.some((card) => card.entry && card.verdict && card.entry.decision === null && card.entry.verdict !== "skipped" && card.entry.verdict !== "failed")) event.preventDefault();
});
root.dataset.ready = "yes";
show();
