// Short messages at the lower edge. One at a time of a kind; the pointer or focus on it keeps it open.

const place = () => document.getElementById("toasts");

export function dismiss(key) {
  place()
    ?.querySelector(`[data-key="${CSS.escape(key)}"]`)
    ?.remove();
}

export function toast(text, { tone = "", action = null, seconds = 6, key = "" } = {}) {
  const host = place();
  if (!host) return () => {};
  if (key) dismiss(key);
  const box = document.createElement("div");
  box.className = `toast ${tone}`;
  if (key) box.dataset.key = key;
  if (tone === "bad") box.setAttribute("role", "alert");
  const words = document.createElement("span");
  words.textContent = text;
  box.append(words);
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    box.remove();
  };
  const wait = () => {
    timer = setTimeout(close, seconds * 1000);
  };
  if (action) {
    const button = document.createElement("button");
    button.textContent = action.label;
    if (action.key) {
      const cap = document.createElement("kbd");
      cap.textContent = action.key;
      button.append(" ", cap);
    }
    button.addEventListener("click", () => {
      close();
      action.run();
    });
    box.append(button);
  }
  if (tone === "bad" || !action) {
    const dismiss = document.createElement("button");
    dismiss.textContent = "✕";
    dismiss.setAttribute("aria-label", "Close this message");
    dismiss.addEventListener("click", close);
    box.append(dismiss);
  }
  box.addEventListener("pointerenter", () => clearTimeout(timer));
  box.addEventListener("pointerleave", wait);
  host.append(box);
  while (host.children.length > 3) host.firstElementChild.remove();
  wait();
  return close;
}
