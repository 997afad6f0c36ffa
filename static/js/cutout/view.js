// Where the photo lies on the screen, and the drawing of it: ground, faint photo, cut-out and the ring of the brush.

import { canvasOf } from "./mask.js";

const GROUNDS = { white: "#fff", black: "#000" };
const MARGIN = 24;
const LEAST_SCALE = 0.02;
const MOST_SCALE = 24;

export class View {
  // canvas: on the page. mask: what is drawn. backdrop: the brand's colour.
  constructor(canvas, mask, backdrop) {
    Object.assign(this, { canvas, mask, backdrop });
    this.ground = "checker";
    this.isGhost = true;
    this.cursor = null;
    new ResizeObserver(() => this.#resized()).observe(canvas);
    this.fit();
  }

  // Device pixels for each CSS pixel; more than two cost time and show nothing.
  get dots() {
    return Math.min(2, devicePixelRatio || 1);
  }

  #resized() {
    const isFitting = this.isFitting;
    if (!this.#resizeCanvas()) return;
    if (isFitting) this.fit();
    else this.draw();
  }

  #resizeCanvas() {
    const wide = Math.round(this.canvas.clientWidth * this.dots);
    const high = Math.round(this.canvas.clientHeight * this.dots);
    if (this.canvas.width === wide && this.canvas.height === high) return false;
    this.canvas.width = wide;
    this.canvas.height = high;
    return true;
  }

  fit() {
    const { width, height } = this.mask;
    const [wide, high] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.scale = Math.min((wide - MARGIN) / width, (high - MARGIN) / height);
    this.left = (wide - this.scale * width) / 2;
    this.top = (high - this.scale * height) / 2;
    this.isFitting = true;
    this.#resizeCanvas();
    this.draw();
  }

  // The point of the photo at `at`, in CSS pixels of the canvas, stays where it is.
  zoom(factor, at = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 }) {
    const scale = Math.max(LEAST_SCALE, Math.min(MOST_SCALE, this.scale * factor));
    const real = scale / this.scale;
    this.left = at.x - (at.x - this.left) * real;
    this.top = at.y - (at.y - this.top) * real;
    this.scale = scale;
    this.isFitting = false;
    this.draw();
  }

  zoomToFull() {
    this.zoom(1 / this.scale);
  }

  pan(x, y) {
    this.left += x;
    this.top += y;
    this.isFitting = false;
    this.draw();
  }

  // A pointer's place: x and y on the canvas, `on` in pixels of the photo.
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return { x, y, on: { x: (x - this.left) / this.scale, y: (y - this.top) / this.scale } };
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
    const context = this.canvas.getContext("2d");
    const { dots, scale, left, top } = this;
    const { photo, width, height } = this.mask;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(dots * scale, 0, 0, dots * scale, dots * left, dots * top);
    context.imageSmoothingEnabled = scale < 3;
    context.imageSmoothingQuality = "high";
    context.fillStyle = this.#groundOf(context);
    context.fillRect(0, 0, width, height);
    if (this.isGhost) {
      context.globalAlpha = 0.28;
      context.drawImage(photo, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    context.drawImage(this.mask.cut, 0, 0);
    if (this.cursor) this.#ring(context);
    Object.assign(this.canvas.dataset, { scale, left, top });
  }

  #groundOf(context) {
    if (this.ground !== "checker") return GROUNDS[this.ground] || this.backdrop || "#fff";
    if (!this.checks) {
      const small = canvasOf(16, 16);
      const paper = small.getContext("2d");
      paper.fillStyle = "#fff";
      paper.fillRect(0, 0, 16, 16);
      paper.fillStyle = "#d4d4d4";
      paper.fillRect(0, 0, 8, 8);
      paper.fillRect(8, 8, 8, 8);
      this.checks = context.createPattern(small, "repeat");
    }
    this.checks.setTransform(new DOMMatrix().scale(1 / this.scale));
    return this.checks;
  }

  #ring(context) {
    const { x, y } = this.cursor;
    const { radius } = this.mask;
    const line = 1 / this.scale;
    for (const [colour, far] of [
      ["#000", radius],
      ["#fff", Math.max(line, radius - line)],
    ]) {
      context.beginPath();
      context.arc(x, y, far, 0, 2 * Math.PI);
      context.lineWidth = line;
      context.strokeStyle = colour;
      context.stroke();
    }
  }
}
