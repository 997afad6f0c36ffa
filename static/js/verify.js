// Verifies one image: dropped anywhere on the page, pasted or chosen. The newest file wins.

import { send } from "./forms.js";
import { isTyping } from "./keys.js";
import { toast } from "./toast.js";

const form = document.getElementById("verify-form");
const input = form.querySelector("input[type=file]");
const looking = form.querySelector("[data-looking]");
const result = document.getElementById("verify-result");
let asked = 0;
let shown = "";

async function verify(file) {
  const mine = ++asked;
  const data = new FormData(form);
  data.set("file", file);
  result.replaceChildren();
  looking.hidden = false;
  try {
    const answer = await send(form.action, data);
    if (mine === asked) show(answer.html, file);
  } catch (error) {
    if (mine === asked) toast(error.message, { tone: "bad", seconds: 20 });
  }
  if (mine === asked) looking.hidden = true;
}

function show(html, file) {
  result.innerHTML = html;
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(file);
  const dropped = result.querySelector("[data-dropped]");
  const image = dropped.querySelector("img");
  image.addEventListener("load", () => (dropped.hidden = false), { once: true });
  image.src = shown;
  dropped.hidden = false;
  result.focus({ preventScroll: true });
  result.scrollIntoView({ block: "nearest" });
}

function take(files) {
  if (files.length > 1) toast("One image at a time; the first is verified.", { tone: "info" });
  if (files.length) verify(files[0]);
}

input.addEventListener("change", () => take([...input.files]));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  form.classList.remove("is-busy");
  take([...input.files]);
});
document.addEventListener("paste", (event) => {
  if (isTyping(event) || !event.clipboardData?.files.length) return;
  event.preventDefault();
  take([...event.clipboardData.files]);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  if (event.target.closest?.(".drop")) return;
  event.preventDefault();
  take([...event.dataTransfer.files]);
});
