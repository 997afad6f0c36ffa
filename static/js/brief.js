// The brief: images are sent as soon as they are chosen, and what was typed is not left by accident.

for (const input of document.querySelectorAll(".brief-drop input[type=file]")) {
  const words = input.parentElement.querySelector("[data-file-name]");
  const offer = words.textContent;
  input.addEventListener("change", () => {
    if (input.files.length) input.form.requestSubmit();
  });
  input.form.addEventListener("htmx:afterRequest", () => {
    input.form.reset();
    words.textContent = offer;
  });
}

for (const form of document.querySelectorAll("[data-unsaved]")) {
  let isTyped = form.querySelector(".error, [role=alert]") !== null;
  form.addEventListener("input", () => {
    isTyped = true;
  });
  form.addEventListener("submit", () => {
    isTyped = false;
  });
  addEventListener("beforeunload", (event) => {
    if (isTyped) event.preventDefault();
  });
}
