// Values that the brand guide offers: a click writes one into the axis beside it, a second click takes it out.

document.addEventListener("click", (event) => {
  const offer = event.target.closest?.("[data-axis][data-value]");
  if (!offer) return;
  const field = rowOf(offer) || areaOf(offer);
  if (!field) return;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.dispatchEvent(new Event("change", { bubbles: true }));
});

const listed = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

function toggled(text, value) {
  const values = listed(text);
  const place = values.findIndex((one) => one.toLowerCase() === value);
  if (place < 0) values.push(value);
  else values.splice(place, 1);
  return values.join(", ");
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
