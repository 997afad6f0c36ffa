// The prompt editor: placeholders marked while they are typed, names offered after an opening brace, products changed.

import { isComposing } from "./keys.js";

const known = JSON.parse(document.getElementById("known-names")?.textContent || "[]");
const editor = document.getElementById("editor");
const picker = document.getElementById("subject-picker");
const BRACES = /\{\{|\}\}|\{[^{}]*\}?|\}/g;
const sent = new Map();

const axes = () =>
  (editor.elements.axes?.value || "")
    .split("\n")
    .map((line) => line.split(":")[0].trim())
    .filter(Boolean);
const names = () => [
  ...known,
  ...axes()
    .filter((name) => !known.some((one) => one.name === name))
    .map((name) => ({ name })),
];
const areas = [...editor.querySelectorAll("textarea[data-ink]")];
const marksOf = (area) => area.parentElement.querySelector(".ink-marks");

// -- marks -------------------------------------------------------------------------------------------------------------

function judge(piece, all) {
  if (piece === "{{" || piece === "}}") return "";
  if (!piece.startsWith("{") || !piece.endsWith("}")) return "unknown";
  const [name, ...rest] = piece.slice(1, -1).split("|");
  return rest.length || all.has(name.trim()) ? "known" : "unknown";
}

function paint(area) {
  const text = area.value;
  const all = new Set(names().map((one) => one.name));
  const unread = area.name === "text" ? unreadFrom() : null;
  const edges = [];
  for (const match of text.matchAll(BRACES)) {
    const kind = judge(match[0], all);
    if (kind) edges.push({ start: match.index, end: match.index + match[0].length, kind });
  }
  const parts = [];
  let at = 0;
  const put = (start, end, kind) => {
    if (start >= end) return;
    if (unread !== null && start < unread && unread < end) {
      put(start, unread, kind);
      put(unread, end, kind);
      return;
    }
    const piece = text.slice(start, end);
    const isUnread = unread !== null && start >= unread;
    if (!kind && !isUnread) {
      parts.push(piece);
      return;
    }
    const mark = document.createElement("mark");
    mark.className = [kind, isUnread ? "unread" : ""].filter(Boolean).join(" ");
    mark.textContent = piece;
    parts.push(mark);
  };
  for (const edge of edges) {
    put(at, edge.start, "");
    put(edge.start, edge.end, edge.kind);
    at = edge.end;
  }
  put(at, text.length, "");
  const marks = marksOf(area);
  marks.replaceChildren(...parts, "\n");
  marks.scrollTop = area.scrollTop;
}

// The server says where the model stops; that holds for the text it was asked about and no other.
function unreadFrom() {
  const place = document.getElementById("reading")?.dataset.unread;
  const area = editor.elements.text;
  return place && (!sent.has("text") || sent.get("text") === area.value) ? Number(place) : null;
}

const paintAll = () => areas.forEach(paint);

document.body.addEventListener("htmx:configRequest", (event) => {
  if (event.target !== editor) return;
  // htmx takes the address of the button that was pressed last, and looking must never try out.
  event.detail.path = editor.getAttribute("hx-post");
  areas.forEach((area) => sent.set(area.name, area.value));
});
editor.addEventListener("submit", (event) => {
  if (editor.classList.contains("is-busy")) event.preventDefault();
  else editor.classList.add("is-busy");
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id === "preview") paintAll();
});
editor.addEventListener("input", (event) => {
  if (event.target.matches("textarea, input")) paintAll();
});
for (const area of areas)
  area.addEventListener("scroll", () => {
    marksOf(area).scrollTop = area.scrollTop;
  });

// -- names -------------------------------------------------------------------------------------------------------------

const list = document.createElement("ul");
list.className = "ink-names";
list.id = "ink-names";
list.setAttribute("role", "listbox");
list.setAttribute("aria-label", "Placeholders");
list.hidden = true;
document.body.append(list);
let offered = [];
let chosen = 0;
let field = null;

function begun(area) {
  if (area.selectionStart !== area.selectionEnd) return null;
  const match = /(^|[^{])\{([^{}|]*)$/.exec(area.value.slice(0, area.selectionStart));
  return match ? match[2] : null;
}

function offer(area) {
  const words = begun(area);
  if (words === null) {
    close();
    return;
  }
  const wanted = words.trim().toLowerCase();
  offered = names()
    .filter((one) => one.name.toLowerCase().includes(wanted))
    .sort((a, b) => b.name.toLowerCase().startsWith(wanted) - a.name.toLowerCase().startsWith(wanted))
    .slice(0, 12);
  if (!offered.length) {
    close();
    return;
  }
  field = area;
  chosen = 0;
  show();
  place(area);
}

function show() {
  list.replaceChildren(
    ...offered.map((one, index) => {
      const row = document.createElement("li");
      row.id = `ink-name-${index}`;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", String(index === chosen));
      row.append(one.name);
      const count = document.createElement("span");
      count.textContent = one.of ? `${one.count} of ${one.of} products` : one.of === 0 ? "" : "axis";
      row.append(count);
      row.addEventListener("mousedown", (event) => {
        event.preventDefault();
        take(index);
      });
      return row;
    }),
  );
  list.hidden = false;
  field.setAttribute("aria-controls", list.id);
  field.setAttribute("aria-activedescendant", `ink-name-${chosen}`);
  list.children[chosen]?.scrollIntoView({ block: "nearest" });
}

// Below the caret, found by the same letters in the layer of marks.
function place(area) {
  const marks = marksOf(area);
  let rest = area.selectionStart;
  const walker = document.createTreeWalker(marks, NodeFilter.SHOW_TEXT);
  let node = walker.nextNode();
  while (node && rest > node.length) {
    rest -= node.length;
    node = walker.nextNode();
  }
  if (!node) return;
  const range = document.createRange();
  range.setStart(node, rest);
  range.setEnd(node, rest);
  const box = range.getClientRects()[0] || area.getBoundingClientRect();
  list.style.left = `${Math.min(box.left + scrollX, scrollX + innerWidth - 240)}px`;
  list.style.top = `${box.bottom + scrollY + 4}px`;
}

function close() {
  list.hidden = true;
  field?.removeAttribute("aria-activedescendant");
  field = null;
}

function take(index) {
  const area = field;
  const words = begun(area);
  if (words === null) return;
  const end = area.selectionStart;
  const isClosed = area.value[end] === "}";
  area.setRangeText(offered[index].name + (isClosed ? "" : "}"), end - words.length, end, "end");
  if (isClosed) area.setSelectionRange(area.selectionStart + 1, area.selectionStart + 1);
  close();
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

for (const area of areas) {
  area.setAttribute("aria-autocomplete", "list");
  area.addEventListener("input", () => {
    paint(area);
    offer(area);
  });
  area.addEventListener("blur", close);
  area.addEventListener("keydown", (event) => {
    if (list.hidden || isComposing(event)) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : offered.length - 1)) % offered.length;
      show();
    } else if (event.key === "Enter" || event.key === "Tab") take(chosen);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
}

// -- what was probably meant, and other products ---------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const meant = event.target.closest?.("[data-instead]");
  if (meant) {
    const area = editor.elements[meant.dataset.in];
    const slot = area.value.slice(Number(meant.dataset.from), Number(meant.dataset.to));
    if (/^\{[^{}]*\}$/.test(slot)) {
      area.setRangeText(`{${meant.dataset.instead}}`, Number(meant.dataset.from), Number(meant.dataset.to), "end");
      area.dispatchEvent(new Event("input", { bubbles: true }));
      area.focus();
    }
  }
  const change = event.target.closest?.("[data-place]");
  if (change) {
    const search = picker.querySelector("form");
    search.elements.place.value = change.dataset.place;
    search.elements.q.value = "";
    search.elements.q.dispatchEvent(new Event("input", { bubbles: true }));
  }
});

// The picker closes by itself when a product was taken; Enter in its search takes none.
picker?.querySelector("form").addEventListener("submit", (event) => event.preventDefault());

paintAll();
