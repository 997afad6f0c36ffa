// The review workspace's keys and pointer: each turns into one call of stage.js or decisions.js.

import * as keys from "./keys.js";
import { $, current, state, imageOf, REASONS, root, view } from "./workspace/state.js";
import {
  answer,
  back,
  choose,
  closeReasons,
  compare,
  dressSidebar,
  inContext,
  loadMore,
  move,
  openSheetCard,
  sidebars,
  reference,
  setSidebar,
  setView,
  sheet,
  show,
  showSidebar,
  drawVerbs,
  turnSurround,
  viewer,
} from "./workspace/stage.js";
import {
  again,
  approve,
  approveWithAnswers,
  because,
  inWords,
  openReasons,
  sendBack,
  skip,
  turnAnswer,
  undo,
} from "./workspace/decisions.js";

// -- keys ------------------------------------------------------------------------------------------------------------

const actions = {
  a: approve,
  x: () => openReasons("rejected"),
  r: () => (view() === "sheet" ? openSheetCard() : openReasons("needs_revision")),
  s: skip,
};
const always = {
  z: undo,
  c: compare,
  v: reference,
  p: inContext,
  b: turnSurround,
  j: () => (view() === "sheet" ? sheet.move(1, false) : move(1)),
  k: () => (view() === "sheet" ? sheet.move(-1, false) : move(-1)),
  i: () => setSidebar(root.dataset.sidebar !== "open"),
  n: () => {
    setSidebar(true);
    $("sidebar-body").querySelector("[name=note]")?.focus();
  },
  g: () => (view() === "sheet" ? openSheetCard() : setView("sheet")),
  f: () => (view() === "sheet" ? openSheetCard() : null),
  "+": () => (view() === "sheet" ? sheet.dense(1.2) : viewer.step(1.5)),
  "=": () => always["+"](),
  "-": () => (view() === "sheet" ? sheet.dense(1 / 1.2) : viewer.step(1 / 1.5)),
  "−": () => always["-"](),
  0: () => viewer.zoomTo(0),
  Escape: back,
  "?": () => $("keys").showModal(),
};
const ASKED_BY = { rejected: "x", needs_revision: "r", answers: "a" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const name = keys.named(event);
  if (!name || name === "/") return;
  state.lastTouch = Date.now();
  if (state.asking && name !== "Escape" && name !== "Enter") {
    whileAsking(event, name);
    return;
  }
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
  if (name === "Space") {
    event.preventDefault();
    space(event);
    return;
  }
  if (name === "Enter") {
    enter(event);
    return;
  }
  if (name in ARROWS) {
    event.preventDefault();
    arrow(name, event.shiftKey);
    return;
  }
  if (name in always) {
    event.preventDefault();
    if (event.repeat && !"jk+-=−".includes(name)) return;
    always[name]();
  }
});

// While a panel asks, keys are answers to it: a digit, the same key again, or the first letter of words of one's own.
function whileAsking(event, name) {
  if (/^[1-9]$/.test(name) || name === ASKED_BY[state.asking]) {
    event.preventDefault();
    if (event.repeat) return;
    if (name === ASKED_BY[state.asking]) again();
    else digit(Number(name));
  } else if (state.asking !== "answers" && name.length === 1 && name !== "?") {
    $("reasons").querySelector("[name=words]").focus();
  }
}

function digit(number) {
  if (state.asking === "answers") {
    turnAnswer(number - 1);
    return;
  }
  if (state.asking) {
    const reason = REASONS[number - 1];
    if (reason) because(reason.code);
    return;
  }
  const item = current()?.ask[number - 1];
  if (item && view() === "focus") answer(item.code);
}

function enter(event) {
  event.preventDefault();
  if (event.repeat) return;
  if (state.asking === "answers") approveWithAnswers();
  else if (state.asking) $("reasons").querySelector("[name=words]").focus();
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
  if (view() === "sheet") {
    openSheetCard();
    return;
  }
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
  approve,
  skip,
  undo,
  compare,
  reference,
  sheet: () => (view() === "sheet" ? openSheetCard() : setView("sheet")),
  keys: () => $("keys").showModal(),
  reject: () => openReasons("rejected"),
  revise: () => openReasons("needs_revision"),
  context: inContext,
  surround: turnSurround,
  sidebar: () => setSidebar(root.dataset.sidebar !== "open"),
  back,
  more: () => loadMore(),
  "reload-sidebar": () => {
    sidebars.delete(current()?.id);
    showSidebar(current());
  },
  "close-reasons": closeReasons,
  "approve-with-answers": approveWithAnswers,
};

root.addEventListener("click", (event) => {
  const target = event.target.closest("button, [data-do]");
  if (!target) return;
  state.lastTouch = Date.now();
  if (target.dataset.do) {
    target.blur();
    DO[target.dataset.do]?.();
    return;
  }
  if (target.dataset.answer) return turnAnswer(Number(target.dataset.answer));
  if (target.dataset.reason)
    return because(target.dataset.reason, $("reasons").querySelector("[name=words]").value.trim());
  if (target.dataset.candidate) {
    target.blur();
    return choose(Number(target.dataset.candidate));
  }
  if (target.dataset.file) {
    const card = current();
    card.file = Number(target.dataset.file);
    target.blur();
    dressSidebar(card);
    return viewer.show(imageOf(card));
  }
  const item = target.closest("[data-item]");
  if (item && target.value) {
    target.blur();
    answer(item.dataset.item, target.value);
  }
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
    inWords(event.target.elements.words.value.trim());
  } else if (event.target.closest("#revise")) {
    sendBack(event.target.elements.reason.value);
  }
});

root.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("textarea") && !event.shiftKey && !keys.isComposing(event)) {
    event.preventDefault();
    if (event.target.form) event.target.form.requestSubmit();
    else event.target.blur();
  }
  if (event.key === "Escape" && keys.isTyping(event)) {
    event.stopPropagation();
    if (!keys.isComposing(event)) event.target.blur();
  }
});

// A panel asks about the images that were selected when it opened: choosing others closes it.
$("sheet").addEventListener("click", () => {
  if (state.asking) closeReasons();
});

let sidebarTimer = 0;
$("sheet").addEventListener("selection", (event) => {
  $("selection").textContent = event.detail > 1 ? `${event.detail} selected` : "";
  if (view() !== "sheet" || !state.cards[sheet.at]) return;
  state.index = sheet.at;
  clearTimeout(sidebarTimer);
  sidebarTimer = setTimeout(() => {
    if (view() === "sheet" && current()) {
      showSidebar(current());
      drawVerbs();
    }
  }, 150);
});

$("keys").addEventListener("change", () => {
  keys.save({
    preset: $("keys").querySelector("[name=preset]").value,
    off: $("keys").querySelector("[name=off]").checked,
  });
});

// -- beginning -----------------------------------------------------------------------------------------------------------

const chosenKeys = keys.settings();
$("keys").querySelector("[name=preset]").value = chosenKeys.preset;
$("keys").querySelector("[name=off]").checked = chosenKeys.off;
root.dataset.surround = localStorage.getItem("workspace.surround") || "50";
root.dataset.sidebar = localStorage.getItem("workspace.sidebar") || "open";
setInterval(() => {
  if (Date.now() - state.lastTouch < 4 * 60000) loadMore();
}, 4 * 60000);
addEventListener("beforeunload", (event) => {
  if (
    state.cards.some(
      (card) =>
        card.entry &&
        card.decision &&
        card.entry.id === null &&
        card.entry.decision !== "skipped" &&
        card.entry.decision !== "failed",
    )
  )
    event.preventDefault();
});
root.dataset.ready = "yes";
show();
