// The bell of a page that stays open: asked once a minute while somebody looks, and when they come back to the tab.

const bell = document.querySelector("[data-bell]");
const EVERY = 60_000;
let askedAt = Date.now();

async function ask() {
  if (document.hidden || Date.now() - askedAt < EVERY / 2) return;
  askedAt = Date.now();
  try {
    const answer = await fetch(bell.dataset.bell, { headers: { Accept: "application/json" } });
    if (answer.ok) show((await answer.json()).unread);
  } catch {
    /* the next minute asks again; pages that need the server say so themselves */
  }
}

function show(unread) {
  const count = bell.querySelector(".bell-count");
  count.textContent = unread > 98 ? "99+" : String(unread);
  count.hidden = !unread;
  bell.setAttribute("aria-label", unread ? `Notices: ${unread} new` : "Notices");
}

if (bell) {
  setInterval(ask, EVERY);
  document.addEventListener("visibilitychange", ask);
}
