// In context: the image where shoppers meet it, on the channel's own background.

import { disclaimerOf } from "./strip.js";

const PLACES = [
  ["Search result", "search", 56],
  ["Shop tile", "tile", 160],
  ["Product page", "product", 360],
  ["Phone", "phone", 230],
];

export function draw(host, card, version) {
  const file = version.files[card.file] || version.files[0];
  host.replaceChildren(
    ...PLACES.map(([name, kind, px]) => {
      const place = document.createElement("figure");
      place.className = `place ${kind}`;
      const canvas = document.createElement("div");
      canvas.className = "place-canvas";
      canvas.style.background = file.background || "#fff";
      const image = document.createElement("img");
      image.src = file.src;
      image.alt = "";
      image.style.width = `${px}px`;
      image.style.aspectRatio = `${file.width} / ${file.height}`;
      const words = document.createElement("div");
      words.className = "place-words";
      const title = document.createElement("b");
      title.textContent = card.name;
      const sku = document.createElement("span");
      sku.textContent = card.sku;
      words.append(title, sku);
      canvas.append(image, words);
      const caption = document.createElement("figcaption");
      caption.textContent = kind === "tile" ? `${name}, ${px} px` : name;
      if (version.disclaimer) caption.append(" ", disclaimerOf(version.disclaimer));
      place.append(canvas, caption);
      return place;
    }),
  );
}
