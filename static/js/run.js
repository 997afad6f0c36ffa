// The live matrix: tells the server which cells the page has, so that only changed ones come back; arrows walk cells.

const matrix = document.getElementById("matrix");

document.body.addEventListener("htmx:configRequest", (event) => {
  if (event.target.id !== "run-head" || !matrix) return;
  event.detail.parameters.set("cells", [...matrix.querySelectorAll("[data-mark]")]
    .map((cell) => `${cell.id.slice(5)}:${cell.dataset.mark}`).join(","));
});

// A tab that nobody sees does not ask.
document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "run-head" && document.hidden) event.preventDefault();
});

matrix?.addEventListener("keydown", (event) => {
  const cell = event.target.closest(".matrix-cell");
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!cell || !step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const row = cell.parentElement;
  const place = [...row.querySelectorAll(".matrix-cell")].indexOf(cell);
  const nextRow = step[1] < 0 ? row.previousElementSibling : step[1] > 0 ? row.nextElementSibling : row;
  nextRow?.querySelectorAll(".matrix-cell")[place + step[0]]?.focus();
});
