// Times in the zone of whoever looks: what the server wrote in UTC is said again in the reader's own words.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

for (const field of document.querySelectorAll("input[data-zone]")) field.value = zone;
for (const words of document.querySelectorAll("[data-zone-name]")) words.textContent = zone.replaceAll("_", " ");
for (const time of document.querySelectorAll("time[data-moment]")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  time.textContent = at.toLocaleString(undefined, {
    weekday: "short",
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
  });
  time.title = zone;
}

// The new-run form shows the fields of what is chosen. Without this script it shows them all, and works.
const plan = document.querySelector("form[data-plan]");

function chosen(name) {
  const field = plan.elements[name];
  return field instanceof RadioNodeList ? field.value : field?.value;
}

function showWhatIsChosen() {
  for (const part of plan.querySelectorAll("[data-shown-for]")) {
    const [name, value] = part.dataset.shownFor.split("=");
    part.hidden = chosen(name) !== value;
  }
  for (const part of plan.querySelectorAll("[data-hidden-for]")) {
    const [name, value] = part.dataset.hiddenFor.split("=");
    part.hidden = chosen(name) === value;
  }
}

// The number of a pilot is no number for a partial run: that begins with all of them.
let lastStage = plan ? chosen("stage") : "";
function followStage() {
  const stage = chosen("stage");
  const isSmall = (name) => ["sandbox", "pilot"].includes(name);
  const sample = plan.elements.sample;
  if (stage !== lastStage && sample) {
    if (isSmall(lastStage) && !isSmall(stage)) {
      sample.dataset.small = sample.value;
      sample.value = "0";
    } else if (!isSmall(lastStage) && isSmall(stage) && sample.dataset.small) sample.value = sample.dataset.small;
  }
  lastStage = stage;
}

if (plan) {
  plan.addEventListener("change", followStage, true);
  plan.addEventListener("change", showWhatIsChosen);
  showWhatIsChosen();
}
