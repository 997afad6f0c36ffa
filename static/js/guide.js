// The brand guide: copy a colour, print, draw size and light while they are typed, rows of colours, words as chips.

import { isComposing } from "./keys.js";
import { toast } from "./toast.js";

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

document.addEventListener("click", async (event) => {
  const swatch = event.target.closest?.("[data-copy]");
  if (!swatch) return;
  try {
    await navigator.clipboard.writeText(swatch.dataset.copy);
    toast(`${swatch.dataset.copy} is copied.`);
  } catch {
    toast(`Your browser does not let pages copy; the colour is ${swatch.dataset.copy}.`);
  }
});

// -- size and light ------------------------------------------------------------------------------------------------

for (const stage of document.querySelectorAll("[data-stage]")) {
  stage.addEventListener("input", (event) => {
    const { sets } = event.target.dataset;
    const share = Number(event.target.value) / 100;
    if (sets && share > 0 && share <= 1) stage.style.setProperty(sets, share);
    if (event.target.matches("[data-light-of]")) {
      for (const frame of stage.querySelectorAll(".guide-frame")) frame.dataset.light = event.target.value;
    }
  });
}

// -- rows of colours -----------------------------------------------------------------------------------------------

const isColour = (text) => /^#?([0-9a-f]{3}|[0-9a-f]{6})$/i.test(text.trim());

function long(text) {
  const digits = text.trim().replace("#", "").toLowerCase();
  return `#${digits.length === 3 ? [...digits].map((digit) => digit + digit).join("") : digits}`;
}

document.addEventListener("input", (event) => {
  const row = event.target.closest?.(".guide-row");
  if (!row) return;
  const hex = row.querySelector(".guide-hex");
  const well = row.querySelector("[data-paints]");
  if (event.target === well) hex.value = well.value;
  if (event.target === hex && isColour(hex.value)) well.value = long(hex.value);
});

for (const form of document.querySelectorAll("form:has([data-rows])")) {
  const rows = form.querySelector("[data-rows]");
  const add = form.querySelector("[data-add-row]");
  const bare = [...rows.children].at(-1).cloneNode(true);
  for (const button of rows.querySelectorAll("[data-remove-row]")) button.hidden = false;
  bare.querySelector("[data-remove-row]").hidden = false;
  add.hidden = false;
  let next = rows.children.length;
  add.addEventListener("click", () => {
    const row = bare.cloneNode(true);
    row.querySelector("[type=hidden]").value = next;
    const radio = row.querySelector("[type=radio]");
    if (radio) radio.value = next;
    next += 1;
    rows.append(row);
    row.querySelector(".input").focus();
  });
  rows.addEventListener("click", (event) => {
    const row = event.target.closest("[data-remove-row]")?.closest(".guide-row");
    if (!row) return;
    (row.nextElementSibling || row.previousElementSibling)?.querySelector(".input")?.focus();
    row.remove();
  });
}

// -- words as chips over the field that is sent --------------------------------------------------------------------

const TONES = { required_wording: "guide-must", approved_wording: "guide-ours", banned_wording: "guide-never" };

for (const area of document.querySelectorAll("[data-chips]")) chips(area);

function chips(area) {
  const box = document.createElement("div");
  box.className = "guide-chips";
  const input = document.createElement("input");
  input.className = "guide-chip-new";
  input.setAttribute("aria-label", `Add to ${area.labels[0]?.textContent || "the list"}`);
  input.placeholder = "Add, then Enter";
  input.maxLength = 120;
  area.classList.add("is-chipped");
  area.tabIndex = -1;
  area.setAttribute("aria-hidden", "true");
  area.labels[0]?.addEventListener("click", (event) => {
    event.preventDefault();
    input.focus();
  });
  area.after(box);
  const words = () =>
    area.value
      .split("\n")
      .map((word) => word.trim())
      .filter(Boolean);
  const set = (list) => {
    area.value = list.join("\n");
    area.dispatchEvent(new Event("input", { bubbles: true }));
    show();
  };
  const take = () => {
    const given = input.value
      .split(/[\n;]/)
      .map((word) => word.trim())
      .filter(Boolean);
    input.value = "";
    if (given.length) set([...words(), ...given.filter((word) => !words().includes(word))]);
  };
  function show() {
    box.replaceChildren(
      ...words().map((word, place) => {
        const chip = document.createElement("span");
        chip.className = `chip ${TONES[area.dataset.chips]}`;
        const gone = document.createElement("button");
        gone.type = "button";
        gone.textContent = "×";
        gone.setAttribute("aria-label", `Remove ${word}`);
        gone.addEventListener("click", () => {
          set(words().filter((_, index) => index !== place));
          input.focus();
        });
        chip.append(word, gone);
        return chip;
      }),
      input,
    );
  }
  box.addEventListener("click", (event) => {
    if (event.target === box) input.focus();
  });
  input.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Enter") {
      event.preventDefault();
      take();
      input.focus();
    }
    if (event.key === "Backspace" && !input.value && words().length) {
      set(words().slice(0, -1));
      input.focus();
    }
  });
  input.addEventListener("input", (event) => event.stopPropagation());
  input.addEventListener("blur", take);
  input.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text");
    if (!text.includes("\n")) return;
    event.preventDefault();
    input.value = text;
    take();
  });
  show();
}

// -- images: choosing them sends them -----------------------------------------------------------------------------

for (const input of document.querySelectorAll(".guide-drop input[type=file]")) {
  input.addEventListener("change", () => {
    if (input.files.length) input.form.requestSubmit();
  });
}

// -- each part is saved on its own: say so before another part's changes would be lost -------------------------------

const typed = new Set();
const part = (form) => form.closest(".guide-section")?.querySelector("h2")?.textContent || "another part";

for (const form of document.querySelectorAll(".guide-section form[action*='/save/']")) {
  form.addEventListener("input", (event) => {
    if (event.target.name !== "sentence") typed.add(form);
  });
  form.addEventListener("click", (event) => {
    if (event.target.closest("[data-remove-row]")) typed.add(form);
  });
}
document.addEventListener(
  "submit",
  (event) => {
    const others = [...typed].filter((form) => form !== event.target);
    if (event.target.hasAttribute("hx-post") || !event.target.closest(".guide-edit")) return;
    if (
      others.length &&
      !confirm(`What you changed under ${others.map(part).join(", ")} is not saved and would be lost. Go on?`)
    ) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    typed.clear();
  },
  true,
);
addEventListener("beforeunload", (event) => {
  if (typed.size) event.preventDefault();
});
