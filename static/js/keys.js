// One place that turns a key press into an intention: never with modifiers, in fields, or during composition.

const MACHINE_NAMES = {
  KeyA: "a",
  KeyX: "x",
  KeyR: "r",
  KeyS: "s",
  KeyZ: "z",
  KeyJ: "j",
  KeyK: "k",
  KeyG: "g",
  KeyF: "f",
  KeyC: "c",
  KeyV: "v",
  KeyP: "p",
  KeyB: "b",
  KeyI: "i",
  KeyN: "n",
  KeyM: "m",
  KeyU: "u",
  Slash: "/",
};

const NOT_TEXT = "[type=checkbox],[type=radio],[type=button],[type=submit],[type=reset],[type=image],[type=range]";
const FIELDS = `input:not(${NOT_TEXT}), textarea, select, [role=textbox], [role=searchbox], [role=combobox]`;

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

// True while an input method composes a character: Enter and Escape belong to it then.
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

// True when the key press goes into text: a field, a list of choices, editable content, or a composition.
// Every listener for keys asks this one function.
export function isTyping(event) {
  if (isComposing(event)) return true;
  const target = event.composedPath?.()[0] ?? event.target;
  return target instanceof Element && (target.isContentEditable || target.closest(FIELDS) !== null);
}

// The name of the pressed key, or "" when it is not ours to take.
export function named(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isComposing(event)) return "";
  if (isTyping(event)) return event.key === "Escape" ? "Escape" : "";
  const control =
    event.target instanceof Element && event.target.closest("button, a[href], summary, [role=button], input");
  if (control && (event.key === " " || event.key === "Enter")) return "";
  if (control?.matches("[type=range], [type=radio]") && /^(Arrow|Page|Home|End)/.test(event.key)) return "";
  if (/^Digit[0-9]$|^Numpad[0-9]$/.test(event.code)) return event.code.at(-1);
  if (event.key.length > 1) return event.key;
  if (event.key === " ") return "Space";
  const latin = /^[\x20-\x7e]$/.test(event.key) ? event.key.toLowerCase() : MACHINE_NAMES[event.code] || "";
  const { preset, off } = settings();
  if (off && /^[a-z]$/.test(latin)) return "";
  return PRESETS[preset]?.[latin] ?? latin;
}
