// Sends what the reviewer did and turns every failure into words with a way out.

const csrf = () => document.body.dataset.csrf;

export class Refused extends Error {
  constructor(status, body) {
    super([body.detail, ...(body.errors || [])].filter(Boolean).join(" "));
    this.status = status;
    this.body = body;
  }
}

// Resolves with the answer's JSON; rejects with Refused (the server said no) or TypeError (it was not reached).
export async function post(url, body = {}) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": csrf(), Accept: "application/json" },
    body: JSON.stringify(body),
    credentials: "same-origin",
  });
  const isJson = (answer.headers.get("Content-Type") || "").includes("json");
  const said = isJson ? await answer.json() : {};
  if (!answer.ok) throw new Refused(answer.status, { detail: `The server answered ${answer.status}.`, ...said });
  return said;
}

export const at = (url, id) => url.replace("/0/", `/${id}/`);
