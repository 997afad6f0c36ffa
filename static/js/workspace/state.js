// What the workspace knows: the cards, which one is looked at, what was decided. No drawing here.

export const $ = (id) => document.getElementById(id);
export const root = $("workspace");
const given = JSON.parse($("workspace-state").textContent);

export const URLS = given.urls;
export const REASONS = given.reasons;
export const SAID = { approved: "Approved", rejected: "Rejected", needs_revision: "Sent back", skipped: "Skipped" };

export function prepared(card) {
  const chosen = card.versions.some((one) => one.id === card.current) ? card.current : card.versions[0]?.id;
  return { ...card, chosen, file: 0, answers: {}, decision: "" };
}

export const state = {
  cards: given.cards.map(prepared),
  index: 0,
  waiting: given.waiting, // tasks that the reviewer could take at the last answer, and closedCards() of that time
  heldByOthers: given.held_by_others,
  past: [...given.lately],
  asking: null, // the decision whose reasons are open
  lastTouch: Date.now(),
};
state.index = Math.max(
  0,
  state.cards.findIndex((card) => card.id === given.first),
);

export const current = () => state.cards[state.index] || null;
export const versionOf = (card) => card.versions.find((one) => one.id === card.chosen) || card.versions[0];
export const openCards = () => state.cards.filter((card) => !card.decision);
export const closedCards = () => state.cards.filter((card) => card.decision && card.decision !== "skipped");
export const view = () => root.dataset.view;

export function imageOf(card, version = versionOf(card)) {
  const file = version.files[card.file] || version.files[0];
  return {
    src: file.src,
    width: file.width,
    height: file.height,
    under: version.strip,
    marks: version.marks,
    alt: `${card.sku} ${card.name}`,
    label: `Candidate ${version.candidate}`,
    disclaimer: version.disclaimer,
  };
}
