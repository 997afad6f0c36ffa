// The page that paints a photo's cut-out: pointer, keys and buttons. The mask is in cutout/mask.js, the drawing in view.js.

import { Mask } from "./cutout/mask.js";
import { View } from "./cutout/view.js";
import { fields, send } from "./forms.js";
import { isTyping, named } from "./keys.js";
import { toast } from "./toast.js";

const ARROWS = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };

const bench = document.getElementById("bench");
const canvas = bench?.querySelector("canvas");
if (canvas) start();

async function load(address) {
  const image = new Image();
  image.decoding = "async";
  image.src = address;
  await image.decode();
  return image;
}

async function start() {
  const { photo, cutout, width, height } = bench.dataset;
  const wait = bench.querySelector("[data-wait]");
  try {
    const images = await Promise.all([load(photo), cutout ? load(cutout) : null]);
    wait.remove();
    new Bench(...images, Number(width), Number(height));
  } catch {
    wait.textContent = "The photo could not be loaded. Load the page again.";
  }
}

class Bench {
  constructor(photo, cutout, width, height) {
    this.mask = new Mask(photo, cutout, { width, height, onChange: () => this.#changed() });
    this.view = new View(canvas, this.mask, bench.dataset.backdrop);
    this.isReadonly = "readonly" in bench.dataset;
    this.pointers = new Map();
    this.acts = {
      undo: () => this.mask.undo(),
      redo: () => this.mask.redo(),
      save: () => this.save(),
      fit: () => this.view.fit(),
      full: () => this.view.zoomToFull(),
      in: () => this.view.zoom(1.4),
      out: () => this.view.zoom(1 / 1.4),
    };
    this.#listen();
    this.#readBrush();
    this.setGround(localStorage.getItem("cutouts.ground") || "checker");
    canvas.dataset.ready = "1";
  }

  #changed() {
    this.view?.draw();
    const { done, undone } = this.mask;
    for (const [name, count] of Object.entries({ undo: done.length, redo: undone.length, save: done.length })) {
      const button = document.querySelector(`[data-do=${name}]`);
      if (button) button.disabled = !count;
    }
  }

  // -- settings --------------------------------------------------------------------------------------------------

  #readBrush() {
    const [size, softness] = [
      ["size", 60],
      ["softness", 15],
    ].map(([name, usual]) => Number(bench.querySelector(`[data-set=${name}]`)?.value ?? usual) / 100);
    this.mask.setBrush(size, softness);
    this.#say("size", `${Math.round(2 * this.mask.radius)} px`);
    this.#say("softness", `${Math.round(100 * softness)} %`);
    this.view.draw();
  }

  #say(name, words) {
    const place = bench.querySelector(`[data-says=${name}]`);
    if (place) place.textContent = words;
  }

  #resizeBrush(by) {
    const slider = bench.querySelector("[data-set=size]");
    if (!slider) return;
    slider.value = Number(slider.value) + by;
    this.#readBrush();
  }

  setGround(name) {
    if (name === "brand" && !bench.dataset.backdrop) return;
    this.view.ground = name;
    localStorage.setItem("cutouts.ground", name);
    for (const one of bench.querySelectorAll("button[data-ground]"))
      one.setAttribute("aria-pressed", String(one.dataset.ground === name));
    this.view.draw();
  }

  setMode(mode) {
    this.mask.mode = mode;
    for (const one of bench.querySelectorAll("[data-mode]"))
      one.setAttribute("aria-pressed", String(one.dataset.mode === mode));
  }

  async save() {
    if (!this.mask.done.length || this.isSaving) return;
    this.isSaving = true;
    const button = document.querySelector("[data-do=save]");
    button.disabled = true;
    try {
      const pairs = [
        ["mask", await this.mask.toFile()],
        ["next", bench.dataset.next],
      ];
      if (bench.dataset.seen) pairs.push(["seen", bench.dataset.seen]);
      const answer = await send(location.pathname, fields(pairs));
      this.mask.done = [];
      location.assign(answer.href);
    } catch (error) {
      this.isSaving = false;
      button.disabled = false;
      const words = error.message || "The cut-out was not saved: the server cannot be reached. Try again.";
      toast(words, { tone: "bad", seconds: 20 });
    }
  }

  // -- pointer and keys ------------------------------------------------------------------------------------------

  #listen() {
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener("pointerleave", () => {
      this.view.cursor = null;
      this.view.draw();
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    document.addEventListener("click", (event) =>
      this.#press(event.target.closest?.("[data-do], [data-mode], button[data-ground]")),
    );
    bench.addEventListener("input", (event) => {
      if (event.target.dataset.set) this.#readBrush();
      if ("ghost" in event.target.dataset) {
        this.view.isGhost = event.target.checked;
        this.view.draw();
      }
    });
    document.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("keyup", (event) => {
      if (event.key === " ") this.#hold(false);
    });
    addEventListener("beforeunload", (event) => {
      if (this.mask.done.length) event.preventDefault();
    });
  }

  #down(event) {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    const place = this.view.place(event);
    this.pointers.set(event.pointerId, place);
    if (this.pointers.size === 2) this.mask.abandon(); // what the first finger began to paint was the start of a pinch
    else if (event.button !== 0 || this.isHolding || this.isReadonly) this.dragging = place;
    else this.mask.begin(place.on);
  }

  #move(event) {
    const place = this.view.place(event);
    const earlier = this.pointers.get(event.pointerId);
    this.view.cursor = event.pointerType === "touch" || this.isReadonly ? null : place.on;
    if (this.pointers.size === 2 && earlier) this.#pinch(event.pointerId, earlier, place);
    else if (this.dragging) {
      this.view.pan(place.x - this.dragging.x, place.y - this.dragging.y);
      this.dragging = place;
    } else if (this.mask.isPainting) {
      for (const one of event.getCoalescedEvents?.() || []) this.mask.strokeTo(this.view.place(one).on);
      this.mask.strokeTo(place.on);
    }
    if (earlier) this.pointers.set(event.pointerId, place);
    this.view.draw();
  }

  #pinch(id, earlier, place) {
    const other = [...this.pointers].find(([pointer]) => pointer !== id)[1];
    const far = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
    this.view.pan((place.x - earlier.x) / 2, (place.y - earlier.y) / 2);
    this.view.zoom(far(place) / far(earlier), { x: (place.x + other.x) / 2, y: (place.y + other.y) / 2 });
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    this.dragging = null;
    if (this.mask.isPainting) this.mask.end();
  }

  #wheel(event) {
    event.preventDefault();
    this.view.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), this.view.place(event));
  }

  #press(button) {
    if (!button) return;
    const { do: act, mode, ground } = button.dataset;
    if (mode) this.setMode(mode);
    if (ground) this.setGround(ground);
    this.acts[act]?.();
  }

  #hold(isHolding) {
    this.isHolding = isHolding;
    canvas.style.cursor = isHolding ? "grab" : "";
  }

  #key(event) {
    if (document.querySelector("dialog[open]") || isTyping(event)) return;
    const key = named(event);
    const isOnCanvas = event.target === canvas || event.target === document.body;
    if (isOnCanvas && (key === "Space" || ARROWS[key])) {
      event.preventDefault();
      if (key === "Space") this.#hold(true);
      else this.view.pan(...ARROWS[key]);
    } else if (key === "+" || key === "=") this.acts.in();
    else if (key === "-") this.acts.out();
    else if (key === "0") this.acts.fit();
    else if (key === "1") this.acts.full();
    else if (key === "p") bench.querySelector("[data-ghost]").click();
    else if (this.isReadonly) return;
    else if (key === "[") this.#resizeBrush(-4);
    else if (key === "]") this.#resizeBrush(4);
    else if (key === "x") this.setMode(this.mask.mode === "add" ? "remove" : "add");
    else if (key === "s" && !event.repeat) this.save();
    else if (key === "z" || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z")) {
      event.preventDefault();
      if (event.shiftKey) this.mask.redo();
      else this.mask.undo();
    }
  }
}
