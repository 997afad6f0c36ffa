// The bench: paints a photo's cut-out. The mask is a canvas as large as the photo whose alpha says what is product.

import { fields, send } from "./forms.js";
import { isTyping, named } from "./keys.js";
import { toast } from "./toast.js";

const MOST_UNDO_BYTES = 160e6;
const GROUNDS = { white: "#fff", black: "#000" };

const bench = document.getElementById("bench");
const canvas = bench?.querySelector("canvas");
if (canvas) start();

async function image(address) {
  const image = new Image();
  image.decoding = "async";
  image.src = address;
  await image.decode();
  return image;
}

function sheet(width, height) {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  return made;
}

async function start() {
  const width = Number(bench.dataset.width);
  const height = Number(bench.dataset.height);
  const wait = bench.querySelector("[data-wait]");
  try {
    const [photo, cutout] = await Promise.all([
      image(bench.dataset.photo),
      bench.dataset.cutout ? image(bench.dataset.cutout) : null,
    ]);
    const mask = sheet(width, height);
    const context = mask.getContext("2d", { willReadFrequently: true });
    if (cutout) {
      context.drawImage(cutout, 0, 0, width, height);
      context.globalCompositeOperation = "source-in"; // the alpha alone counts
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, height);
      context.globalCompositeOperation = "source-over";
    }
    wait.remove();
    new Bench(photo, mask, width, height);
  } catch {
    wait.textContent = "The photo could not be loaded. Load the page again.";
  }
}

class Bench {
  constructor(photo, mask, width, height) {
    Object.assign(this, { photo, mask, width, height });
    this.paint = mask.getContext("2d", { willReadFrequently: true });
    this.before = sheet(width, height);
    this.cut = sheet(width, height);
    this.view = { scale: 1, left: 0, top: 0 };
    this.done = [];
    this.undone = [];
    this.mode = "add";
    this.ground = "checker";
    this.isGhost = true;
    this.isReadonly = "readonly" in bench.dataset;
    this.pointers = new Map();
    this.refresh(0, 0, width, height);
    this.#listen();
    this.#brush();
    new ResizeObserver(() => this.#resized()).observe(canvas);
    this.fit();
    this.setGround(localStorage.getItem("cutouts.ground") || "checker");
    canvas.dataset.ready = "1";
  }

  // -- drawing ---------------------------------------------------------------------------------------------------

  // The cut-out inside one rectangle again: photo, cut by the mask.
  refresh(x, y, w, h) {
    const context = this.cut.getContext("2d");
    context.save();
    context.beginPath();
    context.rect(x, y, w, h);
    context.clip();
    context.clearRect(x, y, w, h);
    context.drawImage(this.photo, x, y, w, h, x, y, w, h);
    context.globalCompositeOperation = "destination-in";
    context.drawImage(this.mask, x, y, w, h, x, y, w, h);
    context.restore();
    this.draw();
  }

  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.#draw();
    });
  }

  #draw() {
    const context = canvas.getContext("2d");
    const { scale, left, top } = this.view;
    const dots = this.dots;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(dots * scale, 0, 0, dots * scale, dots * left, dots * top);
    context.imageSmoothingEnabled = scale < 3;
    context.imageSmoothingQuality = "high";
    context.fillStyle = this.#ground(context);
    context.fillRect(0, 0, this.width, this.height);
    if (this.isGhost) {
      context.globalAlpha = 0.28;
      context.drawImage(this.photo, 0, 0, this.width, this.height);
      context.globalAlpha = 1;
    }
    context.drawImage(this.cut, 0, 0);
    if (this.cursor && !this.isReadonly) this.#ring(context);
    canvas.dataset.scale = scale;
    canvas.dataset.left = left;
    canvas.dataset.top = top;
  }

  #ground(context) {
    if (this.ground !== "checker") return GROUNDS[this.ground] || bench.dataset.backdrop || "#fff";
    if (!this.checks) {
      const small = sheet(16, 16);
      const paper = small.getContext("2d");
      paper.fillStyle = "#fff";
      paper.fillRect(0, 0, 16, 16);
      paper.fillStyle = "#d4d4d4";
      paper.fillRect(0, 0, 8, 8);
      paper.fillRect(8, 8, 8, 8);
      this.checks = context.createPattern(small, "repeat");
    }
    this.checks.setTransform(new DOMMatrix().scale(1 / this.view.scale));
    return this.checks;
  }

  #ring(context) {
    const { x, y } = this.cursor;
    const line = 1 / this.view.scale;
    for (const [colour, radius] of [
      ["#000", this.radius],
      ["#fff", Math.max(line, this.radius - line)],
    ]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.lineWidth = line;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  // -- brush -----------------------------------------------------------------------------------------------------

  // Size 0 … 100 is a radius from 1 px to a sixth of the photo, evenly felt.
  #brush() {
    const size = Number(bench.querySelector("[data-set=size]")?.value ?? 60) / 100;
    this.softness = Number(bench.querySelector("[data-set=softness]")?.value ?? 15) / 100;
    const most = Math.max(this.width, this.height) / 6;
    this.radius = Math.max(1, most ** size);
    const side = 2 * Math.ceil(this.radius + 1);
    this.dab = sheet(side, side);
    const context = this.dab.getContext("2d");
    const hard = Math.max(0, Math.min(1 - this.softness, 1 - 1 / this.radius));
    const shade = context.createRadialGradient(side / 2, side / 2, this.radius * hard, side / 2, side / 2, this.radius);
    shade.addColorStop(0, "rgb(255 255 255 / 1)");
    shade.addColorStop(1, "rgb(255 255 255 / 0)");
    context.fillStyle = shade;
    context.fillRect(0, 0, side, side);
    this.#say("size", `${Math.round(2 * this.radius)} px`);
    this.#say("softness", `${Math.round(100 * this.softness)} %`);
    this.draw();
  }

  #say(name, words) {
    const place = bench.querySelector(`[data-says=${name}]`);
    if (place) place.textContent = words;
  }

  #strokeTo(point) {
    const from = this.stroke.last || point;
    const gap = Math.max(0.5, this.radius * 0.12);
    const far = Math.hypot(point.x - from.x, point.y - from.y);
    const count = this.stroke.last ? Math.floor(far / gap) : 1;
    if (!count) return;
    this.paint.globalCompositeOperation = this.mode === "add" ? "source-over" : "destination-out";
    const half = this.dab.width / 2;
    let { x, y } = from;
    for (let step = 1; step <= count; step += 1) {
      const share = this.stroke.last ? (step * gap) / far : 0;
      x = from.x + (point.x - from.x) * share;
      y = from.y + (point.y - from.y) * share;
      this.paint.drawImage(this.dab, x - half, y - half);
    }
    const box = [
      Math.max(0, Math.floor(Math.min(from.x, x) - half)),
      Math.max(0, Math.floor(Math.min(from.y, y) - half)),
      Math.min(this.width, Math.ceil(Math.max(from.x, x) + half)),
      Math.min(this.height, Math.ceil(Math.max(from.y, y) + half)),
    ];
    this.stroke.last = { x, y };
    if (box[2] <= box[0] || box[3] <= box[1]) return;
    const known = this.stroke.box;
    this.stroke.box = known
      ? [Math.min(known[0], box[0]), Math.min(known[1], box[1]), Math.max(known[2], box[2]), Math.max(known[3], box[3])]
      : box;
    this.refresh(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  }

  #begin(point) {
    const context = this.before.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(this.mask, 0, 0);
    this.stroke = { last: null, box: null };
    this.#strokeTo(point);
  }

  #end() {
    const box = this.stroke?.box;
    this.stroke = null;
    if (!box) return;
    const [x, y] = box;
    const [w, h] = [box[2] - x, box[3] - y];
    const before = this.before.getContext("2d").getImageData(x, y, w, h);
    this.done.push({ x, y, before, after: this.paint.getImageData(x, y, w, h) });
    this.undone = [];
    let bytes = this.done.reduce((sum, one) => sum + 2 * one.before.data.length, 0);
    while (bytes > MOST_UNDO_BYTES && this.done.length > 1) bytes -= 2 * this.done.shift().before.data.length;
    this.#buttons();
  }

  step(from, to, which) {
    const one = from.pop();
    if (!one) return;
    to.push(one);
    this.paint.putImageData(one[which], one.x, one.y);
    this.refresh(one.x, one.y, one.before.width, one.before.height);
    this.#buttons();
  }

  undo() {
    this.step(this.done, this.undone, "before");
  }
  redo() {
    this.step(this.undone, this.done, "after");
  }

  #buttons() {
    const can = { undo: this.done.length, redo: this.undone.length, save: this.done.length };
    for (const [name, count] of Object.entries(can)) {
      const button = document.querySelector(`[data-do=${name}]`);
      if (button) button.disabled = !count;
    }
  }

  // -- view ------------------------------------------------------------------------------------------------------

  get dots() {
    return Math.min(2, devicePixelRatio || 1);
  }

  #resized() {
    const wide = Math.round(canvas.clientWidth * this.dots);
    const high = Math.round(canvas.clientHeight * this.dots);
    if (canvas.width === wide && canvas.height === high) return;
    const isFitting = this.isFitting;
    canvas.width = wide;
    canvas.height = high;
    if (isFitting) this.fit();
    else this.draw();
  }

  fit() {
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    const scale = Math.min((wide - 24) / this.width, (high - 24) / this.height);
    this.view = { scale, left: (wide - scale * this.width) / 2, top: (high - scale * this.height) / 2 };
    this.isFitting = true;
    canvas.width = Math.round(wide * this.dots);
    canvas.height = Math.round(high * this.dots);
    this.draw();
  }

  zoom(factor, at = { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 }) {
    const scale = Math.max(0.02, Math.min(24, this.view.scale * factor));
    const real = scale / this.view.scale;
    this.view = { scale, left: at.x - (at.x - this.view.left) * real, top: at.y - (at.y - this.view.top) * real };
    this.isFitting = false;
    this.draw();
  }

  pan(x, y) {
    this.view.left += x;
    this.view.top += y;
    this.isFitting = false;
    this.draw();
  }

  setGround(name) {
    if (name === "brand" && !bench.dataset.backdrop) return;
    this.ground = name;
    localStorage.setItem("cutouts.ground", name);
    for (const one of bench.querySelectorAll("button[data-ground]"))
      one.setAttribute("aria-pressed", String(one.dataset.ground === name));
    this.draw();
  }

  setMode(mode) {
    this.mode = mode;
    for (const one of bench.querySelectorAll("[data-mode]"))
      one.setAttribute("aria-pressed", String(one.dataset.mode === mode));
  }

  resize(by) {
    const slider = bench.querySelector("[data-set=size]");
    if (!slider) return;
    slider.value = Number(slider.value) + by;
    this.#brush();
  }

  async save() {
    if (!this.done.length || this.isSaving) return;
    this.isSaving = true;
    const button = document.querySelector("[data-do=save]");
    button.disabled = true;
    try {
      const blob = await new Promise((settle) => this.mask.toBlob(settle, "image/png"));
      const pairs = [
        ["mask", new File([blob], "mask.png", { type: "image/png" })],
        ["next", bench.dataset.next],
      ];
      if (bench.dataset.seen) pairs.push(["seen", bench.dataset.seen]);
      const answer = await send(location.pathname, fields(pairs));
      this.done = [];
      location.assign(answer.href);
    } catch (error) {
      this.isSaving = false;
      button.disabled = false;
      toast(error.message || "The cut-out was not saved: the server cannot be reached. Try again.", {
        tone: "bad",
        seconds: 20,
      });
    }
  }

  // -- hands -----------------------------------------------------------------------------------------------------

  #where(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return { x, y, on: { x: (x - this.view.left) / this.view.scale, y: (y - this.view.top) / this.view.scale } };
  }

  #listen() {
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener("pointerleave", () => {
      this.cursor = null;
      this.draw();
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), this.#where(event));
      },
      { passive: false },
    );
    document.addEventListener("click", (event) =>
      this.#press(event.target.closest?.("[data-do], [data-mode], button[data-ground]")),
    );
    bench.addEventListener("input", (event) => {
      if (event.target.dataset.set) this.#brush();
      if ("ghost" in event.target.dataset) {
        this.isGhost = event.target.checked;
        this.draw();
      }
    });
    document.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("keyup", (event) => {
      if (event.key === " ") {
        this.isHolding = false;
        canvas.style.cursor = "";
      }
    });
    addEventListener("beforeunload", (event) => {
      if (this.done.length) event.preventDefault();
    });
  }

  #down(event) {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    const where = this.#where(event);
    this.pointers.set(event.pointerId, where);
    if (this.pointers.size === 2) {
      this.#abandon();
      return;
    }
    const isMoving = event.button !== 0 || this.isHolding || this.isReadonly;
    if (isMoving) this.dragging = where;
    else this.#begin(where.on);
  }

  // A second finger: what the first began to paint was the start of a pinch.
  #abandon() {
    if (!this.stroke) return;
    this.#end();
    this.undo();
    this.undone = [];
    this.#buttons();
  }

  #move(event) {
    const where = this.#where(event);
    const earlier = this.pointers.get(event.pointerId);
    this.cursor = event.pointerType === "touch" ? null : where.on;
    if (this.pointers.size === 2 && earlier) this.#pinch(event.pointerId, earlier, where);
    else if (this.dragging) {
      this.pan(where.x - this.dragging.x, where.y - this.dragging.y);
      this.dragging = where;
    } else if (this.stroke) {
      for (const one of event.getCoalescedEvents?.() || [event]) this.#strokeTo(this.#where(one).on);
      this.#strokeTo(where.on);
    }
    if (earlier) this.pointers.set(event.pointerId, where);
    this.draw();
  }

  #pinch(id, earlier, where) {
    const other = [...this.pointers].find(([pointer]) => pointer !== id)[1];
    const far = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
    this.pan((where.x - earlier.x) / 2, (where.y - earlier.y) / 2);
    this.zoom(far(where) / far(earlier), { x: (where.x + other.x) / 2, y: (where.y + other.y) / 2 });
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    this.dragging = null;
    if (this.stroke) this.#end();
  }

  #press(button) {
    if (!button) return;
    const { do: act, mode, ground } = button.dataset;
    if (mode) this.setMode(mode);
    if (ground) this.setGround(ground);
    if (act) this.act(act);
  }

  act(name) {
    const acts = {
      undo: () => this.undo(),
      redo: () => this.redo(),
      save: () => this.save(),
      fit: () => this.fit(),
      full: () => this.zoom(1 / this.view.scale),
      in: () => this.zoom(1.4),
      out: () => this.zoom(1 / 1.4),
    };
    acts[name]?.();
  }

  #key(event) {
    if (document.querySelector("dialog[open]") || isTyping(event)) return;
    const key = named(event);
    const isOnCanvas = event.target === canvas || event.target === document.body;
    const arrows = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    if (key === "Space" && isOnCanvas) {
      event.preventDefault();
      this.isHolding = true;
      canvas.style.cursor = "grab";
    } else if (arrows[key] && isOnCanvas) {
      event.preventDefault();
      this.pan(...arrows[key]);
    } else if (key === "+" || key === "=") this.zoom(1.4);
    else if (key === "-") this.zoom(1 / 1.4);
    else if (key === "0") this.fit();
    else if (key === "1") this.zoom(1 / this.view.scale);
    else if (key === "p") bench.querySelector("[data-ghost]").click();
    else if (this.isReadonly) return;
    else if (key === "[") this.resize(-4);
    else if (key === "]") this.resize(4);
    else if (key === "x") this.setMode(this.mode === "add" ? "remove" : "add");
    else if (key === "z") this.#again(event.shiftKey);
    else if (key === "s" && !event.repeat) this.save();
    else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      this.#again(event.shiftKey);
    }
  }

  #again(isForward) {
    if (isForward) this.redo();
    else this.undo();
  }
}
