// What every page does: theme, menus, palette, drop zones, refusals that come back where they happened.

import { isComposing, isTyping, named } from "./keys.js";
import { toast } from "./toast.js";

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  if (!target) return;
  if (target.closest("[data-theme-switch]")) switchTheme();
  if (target.closest("[data-back]")) history.back();
  if (target.closest("[data-palette]")) openPalette();
  const opener = target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open)?.showModal();
  if (target.closest("[data-close]")) target.closest("dialog")?.close();
  if (target.matches("dialog.sheet")) target.close();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(target)) menu.open = false;
  }
});

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}

// -- palette -----------------------------------------------------------------------------------------------------

const palette = document.getElementById("palette");
let found = [];
let chosen = 0;
let asked = 0;

function openPalette() {
  if (!palette || palette.open) return;
  palette.showModal();
  const input = palette.querySelector("input");
  input.value = "";
  search("");
  input.focus();
}

async function search(words) {
  const mine = ++asked;
  const answer = await fetch(`${palette.dataset.url}?q=${encodeURIComponent(words)}`, {
    headers: { Accept: "application/json" },
  });
  if (mine !== asked || !answer.ok) return;
  found = (await answer.json()).results;
  chosen = 0;
  show();
}

function show() {
  const list = palette.querySelector("ul");
  list.replaceChildren(
    ...found.map((one, index) => {
      const row = document.createElement("li");
      row.setAttribute("role", "presentation");
      const link = document.createElement("a");
      link.href = one.href;
      link.id = `palette-${index}`;
      link.setAttribute("role", "option");
      link.setAttribute("aria-selected", String(index === chosen));
      const name = document.createElement("span");
      name.className = "grow";
      name.textContent = one.name;
      const kind = document.createElement("span");
      kind.className = "kind";
      kind.textContent = one.kind;
      link.append(name, kind);
      row.append(link);
      return row;
    }),
  );
  if (!found.length) {
    const row = document.createElement("li");
    row.className = "faint nothing";
    row.setAttribute("role", "option");
    row.setAttribute("aria-disabled", "true");
    row.textContent = "Nothing by that name.";
    list.append(row);
  }
  const input = palette.querySelector("input");
  if (found.length) input.setAttribute("aria-activedescendant", `palette-${chosen}`);
  else input.removeAttribute("aria-activedescendant");
  list.children[chosen]?.scrollIntoView({ block: "nearest" });
}

palette?.querySelector("input").addEventListener("input", (event) => search(event.target.value));
palette?.addEventListener("keydown", (event) => {
  if (isComposing(event)) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    chosen = Math.max(0, Math.min(found.length - 1, chosen + (event.key === "ArrowDown" ? 1 : -1)));
    show();
  }
  if (event.key === "Enter" && found[chosen]) location.assign(found[chosen].href);
});

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (named(event) === "/") {
    event.preventDefault();
    openPalette();
  }
});

// -- Escape: one level at a time. A dialog closes by itself; then an open menu, then the field that is typed into --------

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || isComposing(event) || document.querySelector("dialog[open]"))
    return;
  const menu = document.querySelector("details.menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  } else if (isTyping(event)) {
    event.target.blur();
  } else {
    return;
  }
  event.preventDefault();
  event.stopImmediatePropagation();
});

// -- forms ---------------------------------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.hasAttribute("hx-post") || form.hasAttribute("hx-get") || form.method === "dialog") return;
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) {
    event.preventDefault();
    return;
  }
  form.classList.add("is-busy");
});
addEventListener("pageshow", () =>
  document.querySelectorAll("form.is-busy").forEach((form) => form.classList.remove("is-busy")),
);

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  const zone = event.target.closest?.(".drop");
  if (zone && event.target.files?.length) {
    zone.querySelector("[data-file-name]").textContent = event.target.files[0].name;
    if (zone.hasAttribute("data-submit-on-drop")) event.target.form.requestSubmit();
  }
});

for (const zone of document.querySelectorAll(".drop")) {
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("is-over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("is-over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("is-over");
    const input = zone.querySelector("input[type=file]");
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
}

// -- htmx: a refusal is words, at the place where it happened --------------------------------------------------------

document.body.addEventListener("htmx:responseError", (event) => {
  const { xhr } = event.detail;
  let words = "";
  const type = xhr.getResponseHeader("Content-Type") || "";
  if (type.includes("json")) words = JSON.parse(xhr.responseText).detail;
  else if (xhr.responseText.length < 8000) {
    const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
    words = page.querySelector("[role=alert], .lead")?.textContent.trim().replace(/\s+/g, " ") || "";
  }
  toast(words || `The server answered ${xhr.status}. Load the page again; if it stays, tell your administrator.`, {
    tone: "bad",
    seconds: 20,
  });
});
document.body.addEventListener("htmx:sendError", () => {
  toast("The server cannot be reached. What you see may be old; it goes on when the connection is back.", {
    tone: "bad",
    seconds: 20,
    key: "offline",
  });
});
