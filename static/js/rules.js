// The rules of a destination: rows are added and removed here, and each change asks for the preview again.

for (const form of document.querySelectorAll("form[data-rules]")) {
  const rows = form.querySelector("[data-rows]");
  const add = form.querySelector("[data-add-row]");
  const changed = () => form.dispatchEvent(new Event("rules-changed"));
  for (const button of form.querySelectorAll("[data-without-script]")) button.hidden = true;

  add.addEventListener("click", (event) => {
    event.preventDefault();
    rows.append(form.querySelector("template").content.cloneNode(true));
    rows.lastElementChild.querySelector("select").focus();
  });

  rows.addEventListener("click", (event) => {
    const row = event.target.closest("[data-remove-row]")?.closest("[data-row]");
    if (!row) return;
    event.preventDefault();
    (row.nextElementSibling || row.previousElementSibling || form).querySelector("select, [data-add-row]").focus();
    row.remove();
    changed();
  });

  form.addEventListener("change", changed);
}
