// Values that the brand guide offers: a click writes one into the axis beside it, a second click takes it out.

// Semicolons where a value has a comma of its own, as the form reads them.
const separator = (text) => (text.includes(";") ? ";" : ",");
const listed = (text) =>
  text
    .split(separator(text))
    .map((one) => one.trim())
    .filter(Boolean);

document.addEventListener("click", (event) => {
  const offer = event.target.closest?.("[data-axis][data-value]");
  if (!offer) return;
  const field = rowOf(offer) || areaOf(offer);
  if (!field) return;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.dispatchEvent(new Event("change", { bubbles: true }));
});

// What is offered and stands in the axes already is shown as pressed, also when it was typed or came with another prompt.
function mark() {
  for (const offer of document.querySelectorAll("[data-axis][data-value]")) {
    const form = offer.form || document;
    const row = [...form.querySelectorAll(".axis")].find(
      (one) => one.querySelector("[name=axis]").value.trim() === offer.dataset.axis,
    );
    const lines = (form.querySelector("textarea[name=axes]")?.value || "").split("\n");
    const line = lines.find((one) => one.split(":")[0].trim() === offer.dataset.axis) || "";
    const text = row ? row.querySelector("[name=values]").value : line.slice(line.indexOf(":") + 1);
    const isThere = listed(text).some((one) => one.toLowerCase() === offer.dataset.value.toLowerCase());
    offer.setAttribute("aria-pressed", String(isThere));
  }
}
document.addEventListener("input", mark);
document.addEventListener("htmx:afterSettle", mark);
mark();

function toggled(text, value) {
  const values = listed(text);
  const place = values.findIndex((one) => one.toLowerCase() === value.toLowerCase());
  if (place < 0) values.push(value);
  else values.splice(place, 1);
  return values.join(`${separator(text)} `);
}

// Rows of two fields: the axis' name, its values. The row of this name, else the first empty one.
function rowOf(offer) {
  const rows = [...(offer.form || document).querySelectorAll(".axis")];
  const named = (name) => rows.find((row) => row.querySelector("[name=axis]").value.trim() === name);
  const row = named(offer.dataset.axis) || named("");
  if (!row) return null;
  const values = row.querySelector("[name=values]");
  row.querySelector("[name=axis]").value = offer.dataset.axis;
  values.value = toggled(values.value, offer.dataset.value);
  return values;
}

// One field of lines: "backdrop: white, clay".
function areaOf(offer) {
  const area = (offer.form || document).querySelector("textarea[name=axes]");
  if (!area) return null;
  const lines = area.value.split("\n").filter((line) => line.trim());
  const place = lines.findIndex((line) => line.split(":")[0].trim() === offer.dataset.axis);
  const values = toggled(place < 0 ? "" : lines[place].slice(lines[place].indexOf(":") + 1), offer.dataset.value);
  const line = values ? [`${offer.dataset.axis}: ${values}`] : [];
  if (place < 0) lines.push(...line);
  else lines.splice(place, 1, ...line);
  area.value = lines.join("\n");
  return area;
}
