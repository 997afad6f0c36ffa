// A product's photos: the slider between photo and cut-out, and photos dropped or pasted anywhere on the page.

import { send } from "./forms.js";
import { isTyping } from "./keys.js";
import { toast } from "./toast.js";

for (const place of document.querySelectorAll("[data-compare]")) {
  const slider = place.querySelector("input[type=range]");
  const show = () => place.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", show);
  show();
}

const form = document.getElementById("add-photo");
const input = form?.querySelector("input[type=file]");
const says = form?.querySelector("[data-adding]");
let isBusy = false;

// A pasted image is always called image.png: two of them are two photos.
function named(file, at) {
  if (!/^image\.\w+$/.test(file.name)) return file;
  const when = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
  return new File([file], `pasted-${when}-${at + 1}.${file.name.split(".").pop()}`, { type: file.type });
}

async function add(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (images.length < files.length)
    toast("Photos are JPEG, PNG, WebP or AVIF; other files were left out.", { tone: "bad" });
  if (!images.length || isBusy) return;
  isBusy = true;
  const count = images.length === 1 ? "the photo" : `${images.length} photos`;
  says.textContent = `Adding ${count} and cutting out…`;
  const data = new FormData(form);
  data.delete("file");
  images.forEach((file, at) => data.append("file", named(file, at)));
  try {
    const answer = await send(form.action, data);
    location.assign(answer.href);
    if (location.pathname === new URL(answer.href, location.href).pathname) location.reload();
  } catch (error) {
    toast(error.message, { tone: "bad", seconds: 20 });
    says.textContent = "";
  }
  isBusy = false;
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  form.classList.remove("is-busy");
  add(input.files);
});
if (form) {
  document.addEventListener("paste", (event) => {
    if (isTyping(event) || !event.clipboardData?.files.length) return;
    event.preventDefault();
    add(event.clipboardData.files);
  });
  input.addEventListener("change", () => {
    const count = input.files.length;
    if (count > 1)
      setTimeout(() => {
        form.querySelector("[data-file-name]").textContent = `${count} photos`;
      });
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (event.target.closest?.(".drop")) return;
    event.preventDefault();
    add(event.dataTransfer.files);
  });
}
