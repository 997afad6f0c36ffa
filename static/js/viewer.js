// The image: one or two panes that share zoom and place. Scales are image pixels to CSS pixels; places are shares 0–1.

const PADDING = 12;

class Pane {
  constructor(host) {
    this.root = document.createElement("div");
    this.root.className = "pane";
    this.frame = document.createElement("div");
    this.frame.className = "frame";
    this.image = document.createElement("img");
    this.image.decoding = "async";
    this.image.draggable = false;
    this.image.alt = "";
    this.marks = document.createElement("div");
    this.marks.className = "marks";
    this.label = document.createElement("span");
    this.label.className = "pane-label";
    this.disclaimer = document.createElement("span");
    this.disclaimer.className = "disclaimer pane-disclaimer";
    this.frame.append(this.image, this.marks);
    this.root.append(this.frame, this.label, this.disclaimer);
    host.append(this.root);
  }

  get fit() {
    const width = this.root.clientWidth - 2 * PADDING;
    const height = this.root.clientHeight - 2 * PADDING;
    return Math.min(width / this.width, height / this.height, 1);
  }

  place(scale, x, y) {
    const boxWidth = this.root.clientWidth;
    const boxHeight = this.root.clientHeight;
    const width = this.width * scale;
    const height = this.height * scale;
    const left =
      width <= boxWidth ? (boxWidth - width) / 2 : clamp(boxWidth / 2 - x * width, boxWidth - width - PADDING, PADDING);
    const top =
      height <= boxHeight
        ? (boxHeight - height) / 2
        : clamp(boxHeight / 2 - y * height, boxHeight - height - PADDING, PADDING);
    this.frame.style.width = `${width}px`;
    this.frame.style.height = `${height}px`;
    this.frame.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    this.image.style.imageRendering = scale * devicePixelRatio >= 2 ? "pixelated" : "auto";
    return { x: (boxWidth / 2 - left) / width, y: (boxHeight / 2 - top) / height };
  }
}

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

export class Viewer {
  constructor(host, { onZoom }) {
    this.host = host;
    this.onZoom = onZoom;
    this.main = new Pane(host);
    this.other = null;
    this.zoom = 0; // 0: fit
    this.x = this.y = 0.5;
    this.pointer = null;
    this.isPainted = false;
    this.turn = 0;
    new ResizeObserver(() => this.draw()).observe(host);
    this.#listen();
  }

  // Shows an image; resolves when its pixels are on the screen. {src, width, height, alt, marks, under, disclaimer}
  async show(image) {
    const turn = ++this.turn;
    this.isPainted = false;
    this.fill(this.main, image);
    this.zoom = 0;
    this.draw();
    try {
      await this.main.image.decode();
    } catch {
      if (turn !== this.turn) return false;
      this.main.root.classList.add("is-broken");
      return false;
    }
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    if (turn !== this.turn) return false;
    this.isPainted = true;
    this.main.root.classList.remove("is-loading");
    return true;
  }

  fill(pane, image) {
    pane.width = image.width;
    pane.height = image.height;
    pane.root.classList.remove("is-broken");
    pane.root.classList.add("is-loading");
    pane.frame.style.backgroundImage = image.under ? `url("${image.under}")` : "none";
    if (pane.image.getAttribute("src") !== image.src) {
      pane.image.removeAttribute("src");
      pane.image.src = image.src;
    }
    pane.image.alt = image.alt || "";
    pane.image.width = image.width;
    pane.image.height = image.height;
    pane.label.textContent = image.label || "";
    pane.disclaimer.textContent = image.disclaimer || "";
    pane.disclaimer.hidden = !image.disclaimer;
    pane.marks.replaceChildren(
      ...(image.marks || [])
        .filter((mark) => mark.box)
        .map((mark) => {
          const [left, top, right, bottom] = mark.box;
          const box = document.createElement("div");
          box.className = `mark ${mark.outcome}`;
          box.dataset.check = mark.check;
          box.style.cssText = `left:${left * 100}%;top:${top * 100}%;width:${(right - left) * 100}%;height:${(bottom - top) * 100}%`;
          box.title = mark.message;
          return box;
        }),
    );
  }

  // A second image on the left (null takes it away), moving with the first.
  beside(image) {
    if (!image) {
      this.other?.root.remove();
      this.other = null;
    } else {
      this.other ??= new Pane(this.host);
      this.host.prepend(this.other.root);
      this.fill(this.other, image);
      this.other.image.decode().then(
        () => this.other?.root.classList.remove("is-loading"),
        () => {},
      );
    }
    this.host.classList.toggle("is-split", Boolean(image));
    this.main.label.hidden = !image;
    this.draw();
  }

  get scale() {
    return this.zoom || this.main.fit;
  }
  get isFit() {
    return this.zoom === 0;
  }
  get one() {
    return 1 / devicePixelRatio;
  }

  draw() {
    if (!this.main.width || !this.host.clientWidth) return;
    const place = this.main.place(this.scale, this.x, this.y);
    if (!this.isFit) Object.assign(this, place);
    if (this.other?.width) {
      const scale = this.isFit ? this.other.fit : (this.scale * this.main.width) / this.other.width;
      this.other.place(scale, this.x, this.y);
    }
    this.host.classList.toggle("is-zoomed", !this.isFit);
    this.onZoom(
      this.isFit ? null : Math.round(this.scale * devicePixelRatio * 100),
      Math.round(this.main.fit * devicePixelRatio * 100),
    );
  }

  // Zooms so that the image point under `at` (client coordinates, or the middle) stays where it is.
  zoomTo(scale, at = null) {
    const pane = this.#under(at) || this.main;
    const box = pane.root.getBoundingClientRect();
    const frame = pane.frame.getBoundingClientRect();
    const point = at || { x: box.left + box.width / 2, y: box.top + box.height / 2 };
    const share = {
      x: clamp((point.x - frame.left) / frame.width, 0, 1),
      y: clamp((point.y - frame.top) / frame.height, 0, 1),
    };
    this.zoom = scale;
    if (scale) {
      const own = pane === this.main ? scale : (scale * this.main.width) / pane.width;
      this.x = share.x + (box.left + box.width / 2 - point.x) / (pane.width * own);
      this.y = share.y + (box.top + box.height / 2 - point.y) / (pane.height * own);
    }
    this.draw();
  }

  toggle(at = this.pointer) {
    this.zoomTo(this.isFit ? this.one : 0, at);
  }

  step(factor, at = this.pointer) {
    const next = clamp(this.scale * factor, this.main.fit, 8 * this.one);
    const snapped = Math.abs(next - this.one) / this.one < 0.12 ? this.one : next;
    this.zoomTo(next <= this.main.fit * 1.01 ? 0 : snapped, at);
  }

  pan(dx, dy) {
    this.x += dx / (this.main.width * this.scale);
    this.y += dy / (this.main.height * this.scale);
    this.draw();
  }

  highlight(check) {
    for (const mark of this.main.marks.children) mark.classList.toggle("is-lit", mark.dataset.check === check);
  }

  #under(at) {
    if (!at || !this.other) return this.main;
    const box = this.other.root.getBoundingClientRect();
    return at.x >= box.left && at.x <= box.right && at.y >= box.top && at.y <= box.bottom ? this.other : this.main;
  }

  #listen() {
    let held = null;
    let moved = 0;
    this.host.addEventListener("pointermove", (event) => {
      const before = this.pointer;
      this.pointer = { x: event.clientX, y: event.clientY };
      if ((held !== null || this.isHandHeld) && !this.isFit && before) {
        moved += Math.abs(event.clientX - before.x) + Math.abs(event.clientY - before.y);
        this.hasPanned = true;
        this.pan(before.x - event.clientX, before.y - event.clientY);
      }
    });
    this.host.addEventListener("pointerleave", () => {
      if (held === null) this.pointer = null;
    });
    this.host.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest("button, a, input, textarea")) return;
      held = event.pointerId;
      moved = 0;
      this.pointer = { x: event.clientX, y: event.clientY };
      this.host.setPointerCapture(held);
    });
    const up = (event) => {
      if (held !== event.pointerId) return;
      held = null;
      if (moved < 4 && event.type === "pointerup") this.toggle({ x: event.clientX, y: event.clientY });
    };
    this.host.addEventListener("pointerup", up);
    this.host.addEventListener("pointercancel", up);
    this.host.addEventListener(
      "wheel",
      (event) => {
        if (event.target.closest(".panel")) return;
        event.preventDefault();
        this.step(Math.exp(-event.deltaY * 0.0018), { x: event.clientX, y: event.clientY });
      },
      { passive: false },
    );
  }
}
