// Deciding: optimistic on the screen, posted behind it, and back in words when it was refused.

import { at, post, Refused } from "../posts.js";
import { dismiss, toast } from "../toast.js";
import { $, current, state, openCards, prepared, REASONS, SAID, URLS, versionOf, view } from "./state.js";
import {
  advance,
  closeReasons,
  drawStrip,
  drawVerbs,
  go,
  loadMore,
  sidebars,
  setSidebar,
  sheet,
  show,
  signIn,
  viewer,
} from "./stage.js";

const history = []; // what z takes back, newest last; each entry is one keystroke
const last = {
  rejected: localStorage.getItem("workspace.reason.rejected"),
  needs_revision: localStorage.getItem("workspace.reason.needs_revision"),
};
const undoAction = () => ({ label: "Undo", key: "z", run: undo });

export function targets() {
  if (view() === "sheet") return sheet.targets;
  const card = current();
  return card && !card.decision ? [card] : [];
}

// Whether a decision may be taken on these cards now; says in words why not.
export function ready(chosen) {
  if (!chosen.length) {
    const card = current();
    if (card?.decision)
      toast(`${card.sku} is ${(SAID[card.decision] || "decided").toLowerCase()} already. Undo it first.`, {
        key: "ready",
        action: undoAction(),
      });
    return false;
  }
  const isPainted = view() === "sheet" ? chosen.every((card) => sheet.isPainted(card)) : viewer.isPainted;
  if (!isPainted) toast("The image is not on the screen yet; the key was ignored.", { key: "ready", seconds: 3 });
  return isPainted;
}

export function approve() {
  const chosen = targets();
  if (!ready(chosen)) return;
  const unanswered = chosen.filter((card) => card.ask.some((item) => !card.answers[item.code]));
  if (unanswered.length) {
    if (view() === "sheet") {
      openAnswers(chosen);
      return;
    }
    setSidebar(true);
    const open = chosen[0].ask.filter((item) => !chosen[0].answers[item.code]);
    $("sidebar-body").querySelector(`[data-item="${open[0].code}"]`)?.scrollIntoView({ block: "center" });
    const digits = chosen[0].ask
      .map((item, place) => (open.includes(item) ? place + 1 : 0))
      .filter(Boolean)
      .join(", ");
    toast(`Answer first: ${open[0].sentence} (key ${digits})`, { key: "ready" });
    return;
  }
  for (const card of chosen) {
    decide(card, "approved", URLS.approve, { answers: card.answers });
  }
  after(chosen);
}

// -- one checklist for all selected images ------------------------------------------------------------------------------

const ANSWERS = ["yes", "no", "n/a"];
let asked = []; // the open items of the selection: the sentence, the images that ask it, and the answer for them all

// Equal sentences are asked once, however many images ask them; an image that was answered keeps its answer.
function openAnswers(chosen) {
  const items = new Map();
  for (const card of chosen) {
    for (const item of card.ask.filter((one) => !card.answers[one.code])) {
      const key = `${item.code} ${item.sentence}`;
      if (!items.has(key)) items.set(key, { code: item.code, sentence: item.sentence, cards: [], value: "" });
      items.get(key).cards.push(card);
    }
  }
  asked = [...items.values()];
  state.asking = "answers";
  $("reasons").hidden = true;
  $("answers").hidden = false;
  $("answers").querySelector("h2").textContent =
    chosen.length === 1
      ? `Approve ${chosen[0].sku}: answer first`
      : `Approve ${chosen.length} images: answer once for all of them`;
  drawAnswers();
}

function drawAnswers() {
  $("answers")
    .querySelector(".reason-list")
    .replaceChildren(
      ...asked.map((item, place) => {
        const button = document.createElement("button");
        button.type = "button";
        button.dataset.answer = place;
        const cap = document.createElement("kbd");
        cap.textContent = place + 1;
        const value = document.createElement("b");
        value.textContent = item.value || "not answered";
        button.append(cap, item.sentence, value);
        return button;
      }),
    );
}

export function turnAnswer(place) {
  const item = asked[place];
  if (!item) return;
  item.value = ANSWERS[(ANSWERS.indexOf(item.value) + 1) % ANSWERS.length];
  drawAnswers();
}

// Gives every image the answers to what it asks, and approves them. Nothing is decided while an answer is open or "no".
export function approveWithAnswers() {
  const open = asked.find((item) => !item.value);
  const refused = asked.find((item) => item.value === "no");
  if (open) {
    toast(`Answer first: ${open.sentence} (key ${asked.indexOf(open) + 1})`, { key: "ready" });
    return;
  }
  if (refused) {
    toast(`Answered no, so these images cannot be approved: ${refused.sentence}`, { key: "ready" });
    return;
  }
  for (const item of asked) for (const card of item.cards) card.answers[item.code] = item.value;
  closeReasons();
  approve();
}

export function decide(card, decision, url, body) {
  const version = versionOf(card);
  const note =
    view() === "focus" && card === current() ? $("sidebar-body").querySelector("[name=note]")?.value || "" : "";
  const entry = {
    task: card.id,
    sku: card.sku,
    strip: version.strip,
    disclaimer: version.disclaimer,
    decision,
    id: null,
  };
  card.decision = decision;
  card.entry = entry;
  state.past.push(entry);
  entry.send = () => post(at(url, card.id), { version: version.id, seen: version.seen, note, ...body });
  entry.promise = entry.send().then(
    (said) => {
      entry.id = said.id ?? null;
      return entry;
    },
    (problem) => {
      failed(card, entry, problem);
      return null;
    },
  );
}

export function after(chosen) {
  state.lastTouch = Date.now();
  const said = SAID[chosen[0].decision];
  const words = chosen.length === 1 ? `${said} ${chosen[0].sku}` : `${said} ${chosen.length} images`;
  history.push(chosen.map((card) => card.entry));
  dismiss("ready");
  toast(words, { key: "said", action: undoAction() });
  if (view() === "sheet") {
    sheet.selected.clear();
    drawStrip();
    const next = state.cards.findIndex((card, place) => place >= sheet.at && !card.decision);
    if (next >= 0) {
      sheet.at = sheet.anchor = next;
      sheet.mark();
    }
    if (openCards().length <= 6) loadMore(false);
  } else {
    advance();
  }
}

export function failed(card, entry, problem) {
  card.decision = "";
  card.entry = null;
  entry.decision = "failed";
  card.failure = problem.message;
  sidebars.delete(card.id);
  drawStrip();
  drawVerbs();
  const isRefused = problem instanceof Refused;
  if (isRefused && problem.status === 401) return signIn();
  const retry = {
    label: "Try again",
    run: () => {
      state.past.splice(state.past.indexOf(entry), 1);
      go(card.id);
    },
  };
  const look = { label: "Show it", run: () => location.assign(`?task=${card.id}`) };
  const words = isRefused
    ? `${card.sku}: ${problem.message}`
    : `${card.sku} was not saved: the server cannot be reached.`;
  toast(words, {
    tone: "bad",
    seconds: 30,
    key: `failed-${card.id}`,
    action: isRefused && [409, 412].includes(problem.status) ? look : retry,
  });
  return null;
}

export async function undo() {
  let entries = history.pop();
  if (!entries) {
    const last = state.past.findLast((one) => one.id && one.decision !== "failed" && one.decision !== "skipped");
    if (!last) return toast("There is nothing to undo.", { key: "said", seconds: 3 });
    entries = [last];
  }
  let first = null;
  for (const entry of entries) {
    await entry.promise;
    const card = state.cards.find((one) => one.id === entry.task);
    if (entry.decision === "skipped") {
      if (card) {
        card.decision = "";
        first ??= card;
      }
    } else if (entry.id) {
      const fresh = await takeBack(entry, false);
      if (!fresh) continue;
      if (card) Object.assign(card, prepared(fresh), { answers: card.answers });
      else state.cards.splice(state.index, 0, prepared(fresh));
      sidebars.delete(entry.task);
      first ??= state.cards.find((one) => one.id === entry.task);
    }
    const place = state.past.indexOf(entry);
    if (place >= 0) state.past.splice(place, 1);
  }
  if (!first) return null;
  toast(entries.length === 1 ? `${first.sku} is open again` : `${entries.length} images are open again`, {
    key: "said",
    seconds: 4,
  });
  state.index = state.cards.indexOf(first);
  if (view() === "sheet") drawStrip();
  else show();
  return null;
}

export async function takeBack(entry, withdraws) {
  try {
    return (await post(at(URLS.undo, entry.id), { withdraws })).card;
  } catch (problem) {
    const places = problem.body?.withdraws;
    if (problem.status === 409 && places?.length && !withdraws) {
      toast(`${entry.sku}: ${problem.message}`, {
        tone: "bad",
        seconds: 30,
        action: {
          label: "Withdraw and undo",
          run: async () => {
            if (await takeBack(entry, true)) location.assign(`?task=${entry.task}`);
          },
        },
      });
    } else {
      toast(`${entry.sku} could not be undone: ${problem.message}`, { tone: "bad", seconds: 20 });
    }
    return null;
  }
}

export function skip() {
  const chosen = targets();
  if (!chosen.length) return;
  for (const card of chosen) {
    decide(card, "skipped", URLS.skip, {});
  }
  after(chosen);
}

export function openReasons(decision) {
  if (state.asking === decision) return again();
  const chosen = targets();
  if (!ready(chosen)) return null;
  closeReasons();
  state.asking = decision;
  const panel = $("reasons");
  panel.hidden = false;
  panel.querySelector("h2").textContent =
    decision === "rejected"
      ? chosen.length === 1
        ? `Reject ${chosen[0].sku}: why?`
        : `Reject ${chosen.length} images: why?`
      : `Request changes to ${chosen[0].sku}: why?`;
  panel.querySelector("[name=words]").value = "";
  for (const choice of panel.querySelectorAll("[data-reason]")) {
    choice.classList.toggle("is-last", choice.dataset.reason === last[decision]);
    choice.setAttribute("aria-pressed", "false");
  }
  if (decision === "needs_revision") {
    setSidebar(true);
    const revise = $("sidebar-body").querySelector("#revise");
    if (revise) revise.open = true;
  }
  return null;
}

export function again() {
  if (state.asking === "answers") return approveWithAnswers();
  if (last[state.asking]) return because(last[state.asking]);
  return toast("No reason chosen yet; press its digit.", { key: "ready", seconds: 3 });
}

export function because(code, words = "") {
  const decision = state.asking;
  const chosen = targets();
  if (!decision || !ready(chosen)) return;
  last[decision] = code;
  localStorage.setItem(`workspace.reason.${decision}`, code);
  closeReasons();
  if (decision === "needs_revision") return sendBack(code, words);
  for (const card of chosen)
    decide(card, "rejected", URLS.reject, words ? { reason: code, note: words } : { reason: code });
  after(chosen);
}

// Sends the controls that differ from what they were. Where nothing differs, a new seed does if the engine has one.
export function sendBack(reason, words = "") {
  const card = current();
  const form = $("sidebar-body").querySelector("#revise form");
  if (!form || !ready([card])) return;
  const controls = {};
  let seed = null;
  for (const field of form.querySelectorAll("[data-control]")) {
    if (field.dataset.kind === "seed") seed = field;
    if (field.value === field.dataset.was) continue;
    controls[field.dataset.control] = ["number", "seed"].includes(field.dataset.kind)
      ? Number(field.value)
      : field.value;
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

// The words typed under the reasons: they go with the last reason, else with the list's last ("something else").
export function inWords(words) {
  because(last[state.asking] || REASONS.at(-1)?.code || "", words);
}
