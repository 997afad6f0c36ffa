// Sends a form's fields and brings a refusal back as words.

export class Refusal extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

// Resolves with the answer's JSON; rejects with Refusal (the server said no) or TypeError (it was not reached).
export async function send(url, fields) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "X-CSRFToken": document.body.dataset.csrf, Accept: "application/json" },
    body: fields,
    credentials: "same-origin",
  });
  if (answer.ok) return answer.json();
  throw new Refusal(
    answer.status,
    (await refusal(answer)) ||
      `The server answered ${answer.status}. Load the page again; if it stays, tell your administrator.`,
  );
}

async function refusal(answer) {
  const text = await answer.text();
  if ((answer.headers.get("Content-Type") || "").includes("json")) return JSON.parse(text).detail || "";
  const page = new DOMParser().parseFromString(text, "text/html");
  return page.querySelector("[role=alert], .lead")?.textContent.trim().replace(/\s+/g, " ") || "";
}

export function fields(pairs) {
  const form = new FormData();
  for (const [name, value] of pairs) form.append(name, value);
  return form;
}
