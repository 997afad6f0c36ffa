// The sheet: all held images at once, selection by Shift, decisions for many.

import { badge, disclaimerOf } from "./strip.js";

export class Sheet {
  constructor(host, { open }) {
    this.host = host;
    this.openCard = open;
    this.selected = new Set();
    this.at = 0;
    this.anchor = 0;
    this.cards = [];
    this.density = Number(localStorage.getItem("room.density")) || 220;
    this.host.style.setProperty("--cell", `${this.density}px`);
  }

  draw(cards, current) {
    this.cards = cards;
    const at = Math.max(
      0,
      cards.findIndex((card) => card.id === current),
    );
    if (at !== this.at) this.anchor = at; // a selection begins where the sheet was opened, not where it was last
    this.at = at;
    this.host.replaceChildren(...cards.map((card, index) => this.#cell(card, index)));
    this.mark();
  }

  #cell(card, index) {
    const version = card.versions.find((one) => one.id === card.chosen) || card.versions[0];
    const cell = document.createElement("figure");
    cell.className = "cell";
    cell.tabIndex = -1;
    cell.dataset.id = card.id;
    const image = document.createElement("img");
    image.src = version.sheet;
    image.width = version.width;
    image.height = version.height;
    image.alt = `${card.sku} ${card.name}`;
    image.decoding = "async";
    image.draggable = false;
    const words = document.createElement("figcaption");
    const sku = document.createElement("b");
    sku.textContent = card.sku;
    const name = document.createElement("span");
    name.textContent = card.name;
    words.append(sku, " ", ...(version.disclaimer ? [disclaimerOf(version.disclaimer), " "] : []), name);
    cell.append(image, words);
    const problems = version.marks.length;
    if (problems) {
      const flag = document.createElement("span");
      flag.className = "cell-flag";
      flag.textContent = problems === 1 ? "1 finding" : `${problems} findings`;
      flag.title = version.marks.map((mark) => mark.message).join("\n");
      cell.append(flag);
    }
    if (card.decision) cell.append(badge(card.decision));
    cell.addEventListener("click", (event) => {
      if (event.shiftKey) this.move(index - this.at, true);
      else if (event.ctrlKey || event.metaKey) this.#flip(card.id, index);
      else {
        this.at = this.anchor = index;
        this.selected.clear();
        this.mark();
      }
    });
    cell.addEventListener("dblclick", () => this.openCard(card.id));
    return cell;
  }

  #flip(id, index) {
    this.at = this.anchor = index;
    if (!this.selected.delete(id)) this.selected.add(id);
    this.mark();
  }

  get columns() {
    const first = this.host.children[0];
    if (!first) return 1;
    const top = first.offsetTop;
    let count = 0;
    for (const cell of this.host.children) {
      if (cell.offsetTop !== top) break;
      count += 1;
    }
    return count || 1;
  }

  move(by, isSelecting) {
    this.at = Math.max(0, Math.min(this.cards.length - 1, this.at + by));
    if (isSelecting) {
      this.selected.clear();
      const [from, to] = [Math.min(this.anchor, this.at), Math.max(this.anchor, this.at)];
      for (const card of this.cards.slice(from, to + 1)) this.selected.add(card.id);
    } else {
      this.anchor = this.at;
      this.selected.clear();
    }
    this.mark();
    this.host.children[this.at]?.scrollIntoView({ block: "nearest" });
  }

  mark() {
    [...this.host.children].forEach((cell, index) => {
      cell.classList.toggle("is-at", index === this.at);
      cell.classList.toggle("is-selected", this.selected.has(Number(cell.dataset.id)));
    });
    this.host.dispatchEvent(new CustomEvent("selection", { bubbles: true, detail: this.selected.size }));
  }

  clear() {
    this.anchor = this.at;
    this.selected.clear();
    this.mark();
  }

  // The cards that a decision is about: the selected ones, else the one under the cursor.
  get targets() {
    const chosen = this.cards.filter((card) => this.selected.has(card.id));
    return (chosen.length ? chosen : [this.cards[this.at]].filter(Boolean)).filter((card) => !card.decision);
  }

  isPainted(card) {
    const image = this.host.querySelector(`[data-id="${card.id}"] img`);
    return Boolean(image?.complete && image.naturalWidth);
  }

  dense(factor) {
    this.density = Math.max(110, Math.min(520, Math.round(this.density * factor)));
    localStorage.setItem("room.density", String(this.density));
    this.host.style.setProperty("--cell", `${this.density}px`);
  }
}
