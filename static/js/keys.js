// One place that turns a key press into an intention: never with modifiers, in fields, or during composition.

const MACHINE_NAMES = { KeyA: "a", KeyX: "x", KeyR: "r", KeyS: "s", KeyZ: "z", KeyJ: "j", KeyK: "k", KeyG: "g", KeyF: "f",
  KeyC: "c", KeyV: "v", KeyP: "p", KeyB: "b", KeyI: "i", KeyN: "n", KeyM: "m", KeyU: "u", Slash: "/" };

const FIELDS = "input:not([type=checkbox],[type=radio],[type=button],[type=submit]), textarea, select, [contenteditable]";

export const PRESETS = {
  proofline: {},
  lightroom: { p: "a", x: "x", u: "z", a: "p" },
};

export function settings() {
  return { preset: localStorage.getItem("keys.preset") || "proofline", off: localStorage.getItem("keys.off") === "1" };
}

export function save({ preset, off }) {
  localStorage.setItem("keys.preset", preset);
  localStorage.setItem("keys.off", off ? "1" : "");
}

export function inField(target) {
  return target instanceof Element && target.closest(FIELDS) !== null;
}

// The name of the pressed key, or "" when it is not ours to take.
export function named(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.keyCode === 229) return "";
  if (inField(event.target)) return event.key === "Escape" ? "Escape" : "";
  const control = event.target instanceof Element && event.target.closest("button, a[href], summary, [role=button], input");
  if (control && (event.key === " " || event.key === "Enter")) return "";
  if (/^Digit[0-9]$|^Numpad[0-9]$/.test(event.code)) return event.code.at(-1);
  if (event.key.length > 1) return event.key;
  if (event.key === " ") return "Space";
  const latin = /^[\x20-\x7e]$/.test(event.key) ? event.key.toLowerCase() : MACHINE_NAMES[event.code] || "";
  const { preset, off } = settings();
  if (off && /^[a-z]$/.test(latin)) return "";
  return PRESETS[preset]?.[latin] ?? latin;
}
