/**
 * Show the approved images of a product in a headless shop.
 *
 * pull_client.py keeps `base` up to date: products/<sku>.json and files/<sha256>.<format>. The browser never asks
 * Proofline, so it needs no token. Example:
 *
 *   import { showImages } from "./picture.js";
 *   await showImages(document.querySelector("#gallery"), "A-1", { base: "/images/", sizes: "(min-width: 60em) 33vw, 100vw" });
 */

/** Return the images of a product. The browser asks with If-None-Match, so what has not changed is not sent again. */
export async function loadImages(sku, { base = "/images/" } = {}) {
  const name = encodeURIComponent(sku); // the name of the file; in the address it is encoded once more
  const response = await fetch(`${base}products/${encodeURIComponent(name)}.json`, { cache: "no-cache" });
  if (response.status === 404) return [];
  if (!response.ok) throw new Error(`The images of ${sku} cannot be read: ${response.status}`);
  return response.json();
}

/** Return a <figure> with one image in all its sizes; the browser chooses the file. */
export function createFigure(image, { base = "/images/", sizes = "100vw" } = {}) {
  const figure = document.createElement("figure");
  const picture = figure.appendChild(document.createElement("img"));
  const largest = image.files[image.files.length - 1];
  picture.alt = image.alt;
  picture.width = largest.width; // with the height: the page does not jump when the file arrives
  picture.height = largest.height;
  picture.loading = "lazy";
  picture.sizes = sizes;
  picture.srcset = image.files.map((file) => `${base}${file.path} ${file.width}w`).join(", ");
  picture.src = base + largest.path;
  if (image.disclaimer) {
    figure.appendChild(document.createElement("figcaption")).textContent = image.disclaimer;
  }
  return figure;
}

/** Replace the content of an element with the images of a product. */
export async function showImages(element, sku, options = {}) {
  const images = await loadImages(sku, options);
  element.replaceChildren(...images.filter((image) => image.files.length).map((image) => createFigure(image, options)));
}
