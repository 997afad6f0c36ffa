// The mask of a cut-out: a canvas as large as the photo whose alpha says what is product. Strokes of a brush change it.

const MOST_UNDO_BYTES = 160e6;

export function canvasOf(width, height) {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  return made;
}

// The smallest box that holds both, as [left, top, right, bottom].
export function union(one, other) {
  if (!one) return other;
  return [
    Math.min(one[0], other[0]),
    Math.min(one[1], other[1]),
    Math.max(one[2], other[2]),
    Math.max(one[3], other[3]),
  ];
}

// A size of 0 … 1 as a radius from 1 px to a sixth of the photo, in steps that feel even.
export function radiusOf(size, width, height) {
  return Math.max(1, (Math.max(width, height) / 6) ** size);
}

export class Mask {
  // photo: an image of width × height px. cutout: an image whose alpha is the first mask; null: nothing is product.
  // onChange is called after each change that the screen has to show.
  constructor(photo, cutout, { width, height, onChange = () => {} }) {
    Object.assign(this, { photo, width, height, onChange: () => {} });
    this.canvas = canvasOf(width, height);
    this.cut = canvasOf(width, height);
    this.mode = "add";
    this.done = [];
    this.undone = [];
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.before = canvasOf(width, height);
    if (cutout) this.#keepAlphaOf(cutout);
    this.setBrush(0.6, 0.15);
    this.#refresh(0, 0, width, height);
    this.onChange = onChange;
  }

  #keepAlphaOf(cutout) {
    this.context.drawImage(cutout, 0, 0, this.width, this.height);
    this.context.globalCompositeOperation = "source-in";
    this.context.fillStyle = "#fff";
    this.context.fillRect(0, 0, this.width, this.height);
    this.context.globalCompositeOperation = "source-over";
  }

  // Draws the photo again inside one rectangle, cut by the mask.
  #refresh(x, y, w, h) {
    const context = this.cut.getContext("2d");
    context.save();
    context.beginPath();
    context.rect(x, y, w, h);
    context.clip();
    context.clearRect(x, y, w, h);
    context.drawImage(this.photo, x, y, w, h, x, y, w, h);
    context.globalCompositeOperation = "destination-in";
    context.drawImage(this.canvas, x, y, w, h, x, y, w, h);
    context.restore();
    this.onChange();
  }

  // size, softness: 0 … 1.
  setBrush(size, softness) {
    this.radius = radiusOf(size, this.width, this.height);
    const side = 2 * Math.ceil(this.radius + 1);
    this.dab = canvasOf(side, side);
    const context = this.dab.getContext("2d");
    const hard = Math.max(0, Math.min(1 - softness, 1 - 1 / this.radius));
    const shade = context.createRadialGradient(side / 2, side / 2, this.radius * hard, side / 2, side / 2, this.radius);
    shade.addColorStop(0, "rgb(255 255 255 / 1)");
    shade.addColorStop(1, "rgb(255 255 255 / 0)");
    context.fillStyle = shade;
    context.fillRect(0, 0, side, side);
  }

  get isPainting() {
    return Boolean(this.stroke);
  }

  begin(point) {
    const context = this.before.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(this.canvas, 0, 0);
    this.stroke = { last: null, box: null };
    this.strokeTo(point);
  }

  // Sets dabs from the last point to this one, an eighth of the radius apart.
  strokeTo(point) {
    const from = this.stroke.last || point;
    const gap = Math.max(0.5, this.radius * 0.12);
    const far = Math.hypot(point.x - from.x, point.y - from.y);
    const count = this.stroke.last ? Math.floor(far / gap) : 1;
    if (!count) return;
    this.context.globalCompositeOperation = this.mode === "add" ? "source-over" : "destination-out";
    const half = this.dab.width / 2;
    let { x, y } = from;
    for (let step = 1; step <= count; step += 1) {
      const share = this.stroke.last ? (step * gap) / far : 0;
      x = from.x + (point.x - from.x) * share;
      y = from.y + (point.y - from.y) * share;
      this.context.drawImage(this.dab, x - half, y - half);
    }
    this.stroke.last = { x, y };
    const box = [
      Math.max(0, Math.floor(Math.min(from.x, x) - half)),
      Math.max(0, Math.floor(Math.min(from.y, y) - half)),
      Math.min(this.width, Math.ceil(Math.max(from.x, x) + half)),
      Math.min(this.height, Math.ceil(Math.max(from.y, y) + half)),
    ];
    if (box[2] <= box[0] || box[3] <= box[1]) return;
    this.stroke.box = union(this.stroke.box, box);
    this.#refresh(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  }

  // Ends the stroke and keeps it for undo; the oldest strokes are forgotten when all take more than MOST_UNDO_BYTES.
  end() {
    const box = this.stroke?.box;
    this.stroke = null;
    if (!box) return;
    const [x, y] = box;
    const [w, h] = [box[2] - x, box[3] - y];
    const before = this.before.getContext("2d").getImageData(x, y, w, h);
    this.done.push({ x, y, before, after: this.context.getImageData(x, y, w, h) });
    this.undone = [];
    let bytes = this.done.reduce((sum, one) => sum + 2 * one.before.data.length, 0);
    while (bytes > MOST_UNDO_BYTES && this.done.length > 1) bytes -= 2 * this.done.shift().before.data.length;
    this.onChange();
  }

  // Ends the stroke and takes it back, for the first finger of a pinch.
  abandon() {
    if (!this.stroke) return;
    const count = this.done.length;
    this.end();
    if (this.done.length > count) this.undo();
    this.undone = [];
    this.onChange();
  }

  undo() {
    this.#step(this.done, this.undone, "before");
  }

  redo() {
    this.#step(this.undone, this.done, "after");
  }

  #step(from, to, which) {
    const one = from.pop();
    if (!one) return;
    to.push(one);
    this.context.putImageData(one[which], one.x, one.y);
    this.#refresh(one.x, one.y, one.before.width, one.before.height);
  }

  toFile() {
    return new Promise((settle) => {
      this.canvas.toBlob((blob) => settle(new File([blob], "mask.png", { type: "image/png" })), "image/png");
    });
  }
}
