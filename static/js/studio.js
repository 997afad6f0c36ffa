// The studio: Ctrl+Enter generates, sliders and numbers agree, images are dropped or pasted, seeds are kept.

import { send } from "./forms.js";
import { isComposing, isTyping } from "./keys.js";
import { toast } from "./toast.js";

const form = document.getElementById("studio-form");
const result = document.getElementById("studio-result");
let isBusy = false;

document.addEventListener("keydown", (event) => {
  if (
    event.key !== "Enter" ||
    !(event.ctrlKey || event.metaKey) ||
    isComposing(event) ||
    document.querySelector("dialog[open]")
  )
    return;
  event.preventDefault();
  if (!form.querySelector(".studio-go").disabled) form.requestSubmit(form.querySelector(".studio-go"));
});

// A refusal is swapped in where the result would be, and the field that it is about is marked.
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target } = event.detail;
  if (target?.id !== "studio-result" || xhr.status < 400 || !xhr.responseText.includes('role="alert"')) return;
  event.detail.shouldSwap = true;
  event.detail.isError = false;
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id === "studio-engine") shapes();
  if (event.target.id !== "studio-result" || event.detail.requestConfig?.verb !== "post") return;
  mark(result.querySelector("[data-field]")?.dataset.field);
  follow(event.detail.requestConfig.parameters.endpoint);
  if (document.activeElement === document.body) result.focus({ preventScroll: true }); // what was pressed is gone
  const box = result.getBoundingClientRect();
  if (box.top < 0 || box.top > innerHeight * 0.6) result.scrollIntoView({ block: "start" });
});

function mark(name) {
  for (const one of form.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
  const field = name && form.elements[name];
  if (!field?.checkVisibility?.()) return;
  field.setAttribute("aria-invalid", "true");
  field.focus({ preventScroll: true });
}

// Whoever took another endpoint for the same words goes on there.
function follow(endpoint) {
  if (!endpoint || form.elements.endpoint.value === endpoint || !result.querySelector("[data-try]")) return;
  form.elements.endpoint.value = endpoint;
  form.elements.endpoint.dispatchEvent(new Event("change", { bubbles: true }));
}

// -- size ------------------------------------------------------------------------------------------------------------

const side = (name) => form.elements[name];
const slider = (name) => form.querySelector(`[data-side=${name}]`);

function size(width, height) {
  for (const [name, value] of [
    ["width", width],
    ["height", height],
  ]) {
    side(name).value = value;
    slider(name).value = value;
  }
  shapes();
}

function shapes() {
  for (const chip of form.querySelectorAll("[data-width]")) {
    chip.setAttribute(
      "aria-pressed",
      String(chip.dataset.width === side("width")?.value && chip.dataset.height === side("height")?.value),
    );
  }
}

form.addEventListener("input", (event) => {
  const name = event.target.dataset.side;
  if (name) side(name).value = event.target.value;
  if (event.target.name === "width" || event.target.name === "height")
    slider(event.target.name).value = event.target.value;
  if (name || event.target.type === "number") shapes();
  if (event.target.name === "seed" && event.target.value) form.elements.is_locked.checked = true;
});

// -- the reference image ---------------------------------------------------------------------------------------------

function take(photo, product) {
  form.elements.photo.value = photo;
  form.elements.product.value = product;
  form.elements.endpoint.dispatchEvent(new Event("change", { bubbles: true })); // its part is drawn anew, with the image
}

async function add(file) {
  const place = form.querySelector("[data-reference]");
  if (!place) {
    toast("This endpoint takes no reference image; choose another endpoint.", { seconds: 8 });
    return;
  }
  if (isBusy || !file?.type.startsWith("image/")) return;
  isBusy = true;
  place.classList.add("is-busy");
  const label = place.querySelector("[data-file-name]");
  if (label) label.textContent = "Taking the image in…";
  const data = new FormData();
  data.append("file", file);
  try {
    take((await send(form.dataset.images, data)).photo, "");
  } catch (error) {
    toast(error.message, { tone: "bad", seconds: 20 });
    if (label) label.textContent = "Drop an image, paste one, or choose it";
  }
  place.classList.remove("is-busy");
  isBusy = false;
}

form.addEventListener("change", (event) => {
  if (event.target.matches("[data-image]")) add(event.target.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files || [])].find((one) => one.type.startsWith("image/"));
  if (!file || (isTyping(event) && event.clipboardData.getData("text/plain"))) return;
  event.preventDefault();
  add(file);
});
document.addEventListener("dragover", (event) => {
  if (event.dataTransfer?.types.includes("Files")) {
    event.preventDefault();
    form.querySelector(".studio-drop")?.classList.add("is-over");
  }
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.querySelector(".studio-drop")?.classList.remove("is-over");
});
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  form.querySelector(".studio-drop")?.classList.remove("is-over");
  add(event.dataTransfer.files[0]);
});

// -- clicks ----------------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest?.(selector);
  const chip = at("[data-width]");
  if (chip) size(chip.dataset.width, chip.dataset.height);
  if (at("[data-clear]")) take("", "");
  const product = at("[data-product]");
  if (product) take("", product.dataset.product);
  const seed = at("[data-seed]");
  if (seed && form.elements.seed) {
    form.elements.seed.value = seed.dataset.seed;
    form.elements.is_locked.checked = true;
    toast(`The next try keeps seed ${seed.dataset.seed}.`);
  }
  const other = at("[data-endpoint]");
  if (other) {
    form.elements.endpoint.value = other.dataset.endpoint;
    form.elements.endpoint.dispatchEvent(new Event("change", { bubbles: true }));
    document.body.addEventListener(
      "htmx:afterSettle",
      (done) => {
        if (done.target.id === "studio-engine") form.requestSubmit(form.querySelector(".studio-go"));
      },
      { once: true },
    );
  }
});
document.addEventListener("change", (event) => {
  if (event.target.id === "studio-keep-template")
    event.target.form.querySelector("[data-new-name]").hidden = Boolean(event.target.value);
});
document.getElementById("studio-search")?.addEventListener("submit", (event) => event.preventDefault());

shapes();
