// Times in the zone of whoever looks: what the server wrote in UTC is said again in the reader's own words.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

for (const field of document.querySelectorAll("input[data-zone]")) field.value = zone;
for (const words of document.querySelectorAll("[data-zone-name]")) words.textContent = zone.replaceAll("_", " ");
for (const time of document.querySelectorAll("time[data-moment]")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  time.textContent = at.toLocaleString(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  time.title = zone;
}
